import assert from "node:assert/strict";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import { copyFileRange, nextData, nextHole } from "#/tools/libc.ts";

it("nextData() and nextHole() find the parts of a sparse file", async () => {
  await using files = await twoFiles();
  await files.a.truncate(8 * MiB);
  await files.a.write(Buffer.alloc(64 * KiB, 1), 0, undefined, 4 * MiB);
  assert.equal(await nextData(files.a.fd, 0), 4 * MiB);
  assert.equal(await nextHole(files.a.fd, 4 * MiB), 4 * MiB + 64 * KiB);
  assert.equal(await nextData(files.a.fd, 5 * MiB), undefined);
});

it("copyFileRange() copies inside the kernel, and stops at the source's end", async () => {
  await using files = await twoFiles();
  await files.a.write(Buffer.from("0123456789"), 0);
  assert.equal(await copyFileRange({ fd: files.a.fd, offset: 4 }, { fd: files.b.fd, offset: 2 }, 100), 6);
  const { buffer, bytesRead } = await files.b.read(Buffer.alloc(100), 0, 100, 0);
  assert.equal(buffer.toString("latin1", 0, bytesRead), "\0\x00456789");
});

it("a failed call says which, and why", async () => {
  await using files = await twoFiles();
  await assert.rejects(nextHole(files.a.fd, -1), { code: "ENXIO", syscall: "lseek" });
  await assert.rejects(copyFileRange({ fd: files.a.fd, offset: 0 }, { fd: 987_654, offset: 0 }, 1), { code: "EBADF" });
});

it("many calls at once each get their own answer", async () => {
  await using files = await twoFiles();
  await files.a.truncate(4 * MiB);
  for (let i = 0; i < 32; i++) await files.a.write(Buffer.alloc(4 * KiB, 1), 0, undefined, i * 128 * KiB);
  const answers = await Promise.all(Array.from({ length: 320 }, (_, i) => nextHole(files.a.fd, (i % 32) * 128 * KiB)));
  assert.ok(answers.every((hole, i) => hole === (i % 32) * 128 * KiB + 4 * KiB));
});

async function twoFiles() {
  const folder = await mkdtemp(join(tmpdir(), "mica-libc-"));
  const [a, b] = (await Promise.all(["a", "b"].map((name) => open(join(folder, name), "w+")))) as [FileHandle, FileHandle];
  const close = async () => {
    await Promise.all([a.close(), b.close()]);
    await rm(folder, { recursive: true });
  };
  return { a, b, [Symbol.asyncDispose]: close };
}

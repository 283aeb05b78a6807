/** Sharing what disks hold alike on the file systems that can: XFS and btrfs, also while guests write. Needs root, since it mounts them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, open, statfs } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { dedupFiles } from "#/storage/file/dedup.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { extentsOf } from "#/tools/extents.ts";
import { filesOf } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import { mountNew } from "../support/file-systems.ts";

await using mounts = new AsyncDisposableStack();
const fileSystems = [
  ["XFS", mounts.use(await mountNew("xfs"))],
  ["btrfs", mounts.use(await mountNew("btrfs"))],
] as const;
const kept = mounts.move();
after(() => kept.disposeAsync());

for (const [name, fileSystem] of fileSystems) {
  const folder = () => mkdtemp(join(fileSystem.path, "pool-"));
  const openPool = async () => FileDriver.open(await folder());

  describe(`dedup on ${name}`, () => {
    it("gives the space back", async () => {
      const driver = await openPool();
      const bytes = bench.dense(96 * MiB, 1);
      for (let i = 0; i < 3; i++) await bench.putNew(driver, bytes);
      const before = await freeBytes(fileSystem.path);
      const startedMs = performance.now();
      await driver.dedup();
      const tookMs = Math.round(performance.now() - startedMs);
      const gained = (await freeBytes(fileSystem.path)) - before;
      assert.ok(gained > 180 * MiB, `${gained} bytes of 192 MiB in ${tookMs} ms`);
    });

    it("never changes what guests write while it works", async () => {
      const driver = await openPool();
      const bytes = bench.dense(32 * MiB, 1);
      const disks = [await bench.putNew(driver, bytes), await bench.putNew(driver, bytes), await bench.putNew(driver, bytes)];
      const stop = new AbortController();
      const writers = disks.map(async (disk, index) => {
        const [path] = filesOf(await driver.open(disk, "write"));
        assert.ok(path);
        return scribbleUntil(stop.signal, path, bytes.slice(), index + 1);
      });
      for (let round = 0; round < 6; round++) await driver.dedup();
      stop.abort();
      for (const [index, expected] of (await Promise.all(writers)).entries()) {
        assert.equal(sha(await bench.get(driver, disks[index] ?? disks[0] ?? assert.fail())), sha(expected), `disk ${index}`);
      }
    });

    it("shares with the block that is there, where the index remembers another", async () => {
      // An index of eight blocks has to forget: it may miss alike blocks, and must never take different ones for alike.
      const path = await folder();
      const contents = [bench.dense(2 * MiB, 1), bench.dense(2 * MiB, 2), bench.content(2 * MiB, 3), bench.dense(2 * MiB, 1)];
      const files = contents.map((bytes, index) => ({ path: join(path, String(index)), sizeBytes: bytes.length, allocatedBytes: bytes.length }));
      for (const [index, file] of files.entries()) await writeDown(file.path, contents[index] ?? assert.fail());
      await dedupFiles(files, {}, 8);
      for (const [index, file] of files.entries()) assert.equal(sha(await readBack(file.path)), sha(contents[index] ?? assert.fail()), file.path);
    });

    it("finds bytes where the system's own tool finds them", async () => {
      const path = join(await folder(), "file");
      await writeDown(path, bench.content(4 * MiB, 5));
      await using file = await open(path);
      const found = await Array.fromAsync(extentsOf(file.fd));
      const { stdout } = await run("filefrag", ["-e", "-b4096", path], { timeoutMs: 30_000 });
      const told = [...stdout.matchAll(/^\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):/gm)].map(([, ...words]) => words.map((word) => Number(word) * 4 * KiB));
      assert.deepEqual(
        found.map(({ logicalBytes, physicalBytes, lengthBytes }) => [logicalBytes, physicalBytes, lengthBytes]),
        told,
      );
    });
  });
}

/** Writes blocks of 4 KiB at random places, some of them back to what they were, and returns what the file must hold in the end. */
async function scribbleUntil(signal: AbortSignal, path: string, bytes: Uint8Array, seed: number): Promise<Uint8Array> {
  await using file = await open(path, "r+");
  const original = bytes.slice();
  for (let step = seed; !signal.aborted; step = (Math.imul(step, 1664525) + 1013904223) >>> 0) {
    const start = (step % (bytes.length / (4 * KiB))) * 4 * KiB;
    if (step % 3 === 0) bytes.set(original.subarray(start, start + 4 * KiB), start);
    else bytes.fill(step & 255, start, start + 4 * KiB);
    await file.write(bytes, start, 4 * KiB, start);
  }
  await file.sync();
  return bytes;
}

async function writeDown(path: string, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, "w");
  await file.writeFile(bytes);
  await file.sync();
}

async function readBack(path: string): Promise<Uint8Array> {
  await using file = await open(path);
  return await file.readFile();
}

const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** btrfs counts space when a transaction ends. */
async function freeBytes(path: string): Promise<number> {
  await run("sync", ["--file-system", path], { timeoutMs: 60_000 });
  await sleep(100);
  const { bfree, bsize } = await statfs(path);
  return bfree * bsize;
}

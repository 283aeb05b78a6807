import assert from "node:assert/strict";
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { createOverlay } from "#/tools/qemu-img.ts";
import { openReader, openWriter, serveArguments } from "#/tools/qemu-nbd.ts";

const raw = (filename: string): BlockNode => ({ driver: "raw", file: { driver: "file", filename } });

describe("openReader()", () => {
  it("reads through a chain, at any offset, several at once", async () => {
    await using folder = await temporaryFolder();
    const bytes = Buffer.alloc(3 * MiB, "0123456789abcdef!");
    bytes.fill(0, MiB, 2 * MiB);
    await writeFile(folder.file("base"), bytes);
    const overlay = { filename: folder.file("top"), virtualSizeBytes: 4 * MiB, backingFilename: "base", backingFormat: "raw" } as const;
    await createOverlay(overlay);
    const node: BlockNode = { driver: "qcow2", file: { driver: "file", filename: folder.file("top") }, backing: raw(folder.file("base")) };
    await using reader = await openReader(node);
    assert.equal(reader.sizeBytes, 4 * MiB);
    const expected = Buffer.concat([bytes, Buffer.alloc(MiB)]);
    const starts = Array.from({ length: 50 }, (_, i) => (i * 83_777) % (expected.length - 100 * KiB));
    await Promise.all(
      starts.map(async (start) => {
        const buffer = Buffer.alloc(1 + ((start * 7) % (100 * KiB)), 0xee);
        const { zero } = await reader.read(buffer, start);
        const part = expected.subarray(start, start + buffer.length);
        if (zero) assert.ok(part.every((byte) => byte === 0));
        else assert.ok(buffer.equals(part), `${buffer.length} bytes from ${start}`);
      }),
    );
  });

  it("gives holes as such, without touching the buffer", async () => {
    await using folder = await temporaryFolder();
    await using file = await open(folder.file("disk"), "w");
    await file.truncate(64 * MiB);
    await file.write("x", 32 * MiB);
    await using reader = await openReader(raw(folder.file("disk")));
    const buffer = Buffer.alloc(16 * MiB, 1);
    assert.deepEqual(await reader.read(buffer, 0), { zero: true });
    assert.deepEqual(await reader.read(buffer, 24 * MiB), { zero: false });
    assert.deepEqual([buffer[0], buffer[8 * MiB], buffer[8 * MiB + 1]], [0, "x".charCodeAt(0), 0]);
  });

  it("says why a disk cannot be opened, in the tool's words", async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.file("no-qcow2"), "some text");
    const node: BlockNode = { driver: "qcow2", file: { driver: "file", filename: folder.file("no-qcow2") }, backing: null };
    const error = await openReader(node).then(
      () => undefined,
      (error: unknown) => error,
    );
    assert.ok(error instanceof AppError && error.code === "tool_failed");
    assert.match(error.message, /Image is not in qcow2 format/);
  });

  it("ends when it is cancelled, and leaves no server and no folder", async () => {
    await using folder = await temporaryFolder();
    await using file = await open(folder.file("disk"), "w");
    await file.truncate(MiB);
    process.env["TMPDIR"] = folder.file(""); // Where nobody else leaves anything.
    const stop = new AbortController();
    const reader = await openReader(raw(folder.file("disk")), { signal: stop.signal });
    stop.abort();
    const late = async () => {
      for (;;) await reader.read(Buffer.alloc(4 * KiB), 0);
    };
    await assert.rejects(late, (error) => error instanceof AppError && error.code === "cancelled");
    assert.equal((await readdir(folder.file(""))).length, 2);
    await reader[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(folder.file("")), ["disk"]);
    delete process.env["TMPDIR"];
  });
});

describe("openWriter()", () => {
  it("writes at any offset, several at once, and has it on the disk after a flush", async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.file("disk"), Buffer.alloc(2 * MiB));
    await using writer = await openWriter(raw(folder.file("disk")));
    assert.equal(writer.sizeBytes, 2 * MiB);
    const expected = Buffer.alloc(2 * MiB);
    const starts = Array.from({ length: 40 }, (_, i) => ((i * 7919) % 40) * 50 * KiB);
    await Promise.all(
      starts.map(async (start, i) => {
        const part = Buffer.alloc(1 + ((i * 1237) % (50 * KiB)), i + 1);
        expected.set(part, start);
        await writer.write(part, start);
      }),
    );
    await writer.flush();
    assert.ok((await readFile(folder.file("disk"))).equals(expected));
  });

  it("makes a range read as zeroes, and frees its space", async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.file("disk"), Buffer.alloc(4 * MiB, 7));
    await using writer = await openWriter(raw(folder.file("disk")));
    await writer.writeZeroes(512, 3 * MiB);
    await writer.flush();
    assert.ok((await readFile(folder.file("disk"))).equals(Buffer.alloc(4 * MiB, 7).fill(0, 512, 3 * MiB + 512)));
    assert.ok((await stat(folder.file("disk"))).blocks * 512 <= MiB + 64 * KiB);
  });

  it("says which write was refused", async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.file("disk"), Buffer.alloc(MiB));
    await using writer = await openWriter(raw(folder.file("disk")));
    await assert.rejects(writer.write(Buffer.alloc(4 * KiB), MiB), /cannot write at byte 1048576/);
    await writer.write(Buffer.alloc(4 * KiB, 1), 0); // The others go on.
  });
});

describe("serveArguments()", () => {
  it("never lets a reader write, and names the format", () => {
    assert.deepEqual(serveArguments({ driver: "file", filename: "/a" }, { mode: "read" }, "/s"), [
      "--read-only",
      "--socket",
      "/s",
      'json:{"driver":"file","filename":"/a"}',
    ]);
  });
});

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "mica-reader-"));
  return { file: (name: string) => join(path, name), [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

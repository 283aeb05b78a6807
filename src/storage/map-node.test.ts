import assert from "node:assert/strict";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileNode, overlayNode } from "#/domain/block-node.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { cancelled, rejectsWith, writeNode } from "#/storage/contract/bench.ts";
import { convert, createOverlay } from "#/tools/qemu-img.ts";
import { openWriter } from "#/tools/qemu-nbd.ts";
import { mapNode } from "#/storage/map-node.ts";

const root = await mkdtemp(join(tmpdir(), "mica-map-node-"));
after(() => rm(root, { recursive: true, force: true }));
const path = (name: string) => join(root, name);
const GUEST = { start: 0, end: 5 * GiB };

/** A sparse raw disk of 5 GiB with data at 1 MiB, and at 4 GiB for 64 KiB. */
async function rawDisk(name: string) {
  await using file = await open(path(name), "w");
  await file.truncate(GUEST.end);
  await file.write(Buffer.alloc(MiB, 1), 0, MiB, MiB);
  await file.write(Buffer.alloc(64 * KiB, 1), 0, 64 * KiB, 4 * GiB);
  await file.sync();
  return fileNode(path(name), "raw");
}

const withData = async (parts: ReturnType<typeof mapNode>) => (await Array.fromAsync(parts)).filter(({ kind }) => kind === "data");

describe("mapNode()", () => {
  it("covers the disk without gaps, whatever the windows", async () => {
    const parts = await Array.fromAsync(mapNode(await rawDisk("whole"), GUEST));
    assert.equal(parts[0]?.start, 0);
    assert.equal(parts.at(-1)?.end, GUEST.end);
    for (const [index, { start }] of parts.entries()) if (index > 0) assert.equal(start, parts[index - 1]?.end);
    const data = parts.filter(({ kind }) => kind === "data").map(({ start, end }) => [start, end]);
    assert.deepEqual(data, [[MiB, 2 * MiB], [4 * GiB, 4 * GiB + 64 * KiB]]);
  });

  it("shows a part of it, at any byte, and ends where the disk does", async () => {
    const node = await rawDisk("part");
    const parts = await Array.fromAsync(mapNode(node, { start: MiB + 1000, end: 3 * MiB - 1 }));
    assert.deepEqual(parts.map(({ start, end, kind }) => [start, end, kind]), [[MiB + 1000, 2 * MiB, "data"], [2 * MiB, 3 * MiB - 1, "zero"]]);
    const beyond = await Array.fromAsync(mapNode(node, { start: 4 * GiB, end: 100 * GiB }));
    assert.equal(beyond.at(-1)?.end, GUEST.end);
  });

  it("tells what a guest sees of a file of another format, and in which disk of a chain it is", async () => {
    await writeFile(path("base"), Buffer.alloc(4 * MiB, 1));
    await createOverlay({ filename: path("top"), virtualSizeBytes: 8 * MiB, backingFilename: "base", backingFormat: "raw" });
    const node = overlayNode(path("top"), fileNode(path("base"), "raw"));
    await writeNode(node, 7, { start: MiB, end: MiB + 64 * KiB });
    const parts = await withData(mapNode(node, { start: 0, end: 8 * MiB }));
    assert.deepEqual(parts.map(({ start, end, depth }) => [start, end, depth]), [[0, MiB, 1], [MiB, MiB + 64 * KiB, 0], [MiB + 64 * KiB, 4 * MiB, 1]]);
    await writeFile(path("packed"), "");
    await convert(await rawDisk("raw"), { filename: path("packed"), format: "qcow2", clusters: "zlib" });
    const data = await withData(mapNode(fileNode(path("packed"), "qcow2"), GUEST));
    assert.deepEqual([data[0]?.start, data.at(-1)?.end], [MiB, 4 * GiB + 64 * KiB]);
  });

  it("looks at a disk that another program writes to", async () => {
    const node = await rawDisk("busy");
    await using writer = await openWriter(node);
    await writer.write(Buffer.alloc(64 * KiB, 1), 3 * GiB);
    assert.deepEqual((await withData(mapNode(node, GUEST))).map(({ start }) => start), [MiB, 3 * GiB, 4 * GiB]);
    await writer.write(Buffer.alloc(64 * KiB, 1), 2 * GiB); // It goes on.
    await writer.flush();
  });

  it("ends when it is cancelled", async () => {
    const node = await rawDisk("cancelled");
    await rejectsWith("cancelled", () => Array.fromAsync(mapNode(node, GUEST, cancelled)));
  });
});

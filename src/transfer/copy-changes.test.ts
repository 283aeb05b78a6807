import assert from "node:assert/strict";
import { mkdtemp, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type BlockNode, fileNode, formatNode, overlayNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { dense } from "#/storage/contract/bench.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { NbdServer } from "#/tools/nbd-server.ts";
import { convert, createOverlay } from "#/tools/qemu-img.ts";
import { type ChangesCopy, copyChanges } from "#/transfer/copy-changes.ts";
import { readNode } from "#/storage/read-ahead.ts";

const SIZE_BYTES = 6 * MiB;
const before = dense(SIZE_BYTES, 1);
/** Odd places and lengths, a long one, one of zeroes kept as data, one at the very end. */
const RANGES: readonly ByteRange[] = [
  { start: 512, end: 1024 },
  { start: 100 * KiB, end: 900 * KiB },
  { start: 2 * MiB, end: 3 * MiB + 4 * KiB },
  { start: 5 * MiB, end: SIZE_BYTES },
];
const after = Buffer.from(before);
for (const [index, { start, end }] of RANGES.entries()) after.set(dense(end - start, index + 2), start);
after.fill(0, 2 * MiB, 2.5 * MiB);

describe("copyChanges()", () => {
  for (const format of ["raw", "qcow2"] as const) {
    it(`makes a ${format} disk what the other one is, by its ranges alone`, async () => {
      await using folder = await world();
      const target = await folder.target(format);
      const done: number[] = [];
      const copied = await copyChanges({ source: folder.source, target, changes: RANGES, onProgress: (bytes) => done.push(bytes) });
      assert.ok((await shown(target)).equals(after));
      const bytesCovered = RANGES.reduce((sum, { start, end }) => sum + end - start, 0);
      assert.equal(copied.bytesCovered, bytesCovered);
      assert.equal(copied.bytesWritten + copied.bytesZeroed, bytesCovered);
      assert.equal(copied.bytesZeroed, 0.5 * MiB);
      assert.equal(done.at(-1), bytesCovered);
    });
  }

  it("writes into an overlay, and leaves the disk under it as it was", async () => {
    await using folder = await world();
    const [base, top] = [folder.file("target"), folder.file("top")];
    await createOverlay({ filename: top, virtualSizeBytes: SIZE_BYTES, backingFilename: "target", backingFormat: "raw" });
    const target = overlayNode(top, fileNode(base, "raw"));
    await copyChanges({ source: folder.source, target, changes: RANGES });
    assert.ok((await shown(target)).equals(after));
    assert.ok((await readFile(base)).equals(before));
    assert.ok((await stat(top)).size < 3.5 * MiB, "It holds more than what changed.");
  });

  it("reads what another process shows on a socket", async () => {
    await using folder = await world();
    const reads: ByteRange[] = [];
    const read = async (start: number, end: number) => {
      reads.push({ start, end });
      return [after.subarray(start, end)];
    };
    const shows = { sizeBytes: SIZE_BYTES, read };
    await using server = await NbdServer.listen(folder.file("nbd"), async (name) => (name === "guest" ? shows : undefined), () => {});
    const source = formatNode({ driver: "nbd", server: { type: "unix", path: server.path }, export: "guest" }, "raw");
    const target = await folder.target("raw");
    await copyChanges({ source, target, changes: RANGES });
    assert.ok((await shown(target)).equals(after));
    assert.ok(reads.reduce((sum, { start, end }) => sum + end - start, 0) < 3.5 * MiB, "It read more than what changed.");
  });

  it("gives back the space of holes, without reading them", async () => {
    await using folder = await world();
    await using file = await open(folder.file("source"), "w");
    await file.truncate(SIZE_BYTES);
    const target = await folder.target("raw");
    const copied = await copyChanges({ source: folder.source, target, changes: [{ start: MiB, end: 5 * MiB }] });
    assert.deepEqual(copied, { bytesCovered: 4 * MiB, bytesRead: 0, bytesWritten: 0, bytesZeroed: 4 * MiB });
    const expected = Buffer.from(before).fill(0, MiB, 5 * MiB);
    assert.ok((await shown(target)).equals(expected));
    assert.ok((await stat(folder.file("target"))).blocks * 512 <= 2 * MiB + 64 * KiB);
  });

  it("copies nothing where nothing has changed, and nothing beyond the end", async () => {
    await using folder = await world();
    const target = await folder.target("raw");
    const { bytesCovered } = await copyChanges({ source: folder.source, target, changes: [{ start: SIZE_BYTES, end: SIZE_BYTES + MiB }] });
    assert.equal(bytesCovered, 0);
    assert.ok((await shown(target)).equals(before));
  });

  it("refuses a target that is too short for a range", async () => {
    await using folder = await world();
    await writeFile(folder.file("target"), before.subarray(0, MiB));
    const copy = { source: folder.source, target: fileNode(folder.file("target"), "raw"), changes: RANGES };
    await assert.rejects(copyChanges(copy), (error) => error instanceof AppError && error.code === "not_supported" && /ends at byte 1048576/.test(error.message));
  });

  it("ends with the error of where the changes come from", async () => {
    await using folder = await world();
    const changes = async function* () {
      yield { start: 0, end: 64 * KiB };
      throw new AppError("pool_unavailable", "the list is lost");
    };
    await assert.rejects(copyChanges({ source: folder.source, target: await folder.target("raw"), changes: changes() }), /the list is lost/);
  });

  it("ends soon when it is cancelled, also while it waits for its turn, and can be repeated", async () => {
    await using folder = await world();
    const target = await folder.target("raw");
    const stop = new AbortController();
    const slow: ChangesCopy = { source: folder.source, target, changes: [{ start: 0, end: SIZE_BYTES }], bytesPerSecondMax: 100 * KiB, signal: stop.signal };
    setTimeout(() => stop.abort(), 300);
    const startMs = performance.now();
    await assert.rejects(copyChanges(slow), (error) => error instanceof AppError && error.code === "cancelled");
    assert.ok(performance.now() - startMs < 5000);
    await copyChanges({ source: folder.source, target, changes: RANGES });
    assert.ok((await shown(target)).equals(after));
  });

  it("keeps to its bytes per second", async () => {
    await using folder = await world();
    const startMs = performance.now();
    await copyChanges({ source: folder.source, target: await folder.target("raw"), changes: RANGES, bytesPerSecondMax: 6 * MiB });
    assert.ok(performance.now() - startMs >= 300, "2.8 MiB, less the last piece");
  });
});

/** A source that holds `after`, and a target that holds `before`. */
async function world() {
  const path = await mkdtemp(join(tmpdir(), "mica-changes-"));
  const file = (name: string) => join(path, name);
  await writeFile(file("source"), after);
  await writeFile(file("target"), before);
  const target = async (format: "raw" | "qcow2"): Promise<BlockNode> => {
    if (format === "raw") return fileNode(file("target"), "raw");
    await writeFile(file("target.qcow2"), "");
    await convert(fileNode(file("target"), "raw"), { filename: file("target.qcow2"), format: "qcow2" });
    return fileNode(file("target.qcow2"), "qcow2");
  };
  return { file, source: fileNode(file("source"), "raw"), target, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

async function shown(node: BlockNode): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of readNode(node, { start: 0, end: SIZE_BYTES })) parts.push(part.slice());
  return Buffer.concat(parts);
}

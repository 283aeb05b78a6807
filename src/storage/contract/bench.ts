import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BlockNode, fileNode } from "#/domain/block-node.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import type { ByteRange, NewDisk, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { convert, jsonFilename, objectArguments } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";

/** What the parts of the contract share: making content, putting it into disks, reading it back. */

/** What a driver's test hands over: how to get an empty pool. */
export type OpenDriver = () => Promise<StorageDriver>;

/** Lengths around every boundary that a driver could trip over. */
export const ODD_SIZES_BYTES = [0, 1, 511, 512, 513, 4095, 4096, 4097, 64 * KiB, 64 * KiB + 1, 256 * KiB - 1, 5 * MiB + 777];

/** Several at once: on storage over a network every call waits. */
const SIZES_AT_ONCE = 4;

/** The same for each of the sizes. */
export async function forOddSizes(check: (sizeBytes: number, index: number) => Promise<void>): Promise<void> {
  const sizes = ODD_SIZES_BYTES.entries();
  await together(SIZES_AT_ONCE, async () => {
    for (const [index, sizeBytes] of sizes) await check(sizeBytes, index);
  });
}

/** The same work several times at once; waits for all, also when one has failed. */
export async function together(count: number, work: () => Promise<void>): Promise<void> {
  const ended = await Promise.allSettled(Array.from({ length: count }, work));
  for (const result of ended) if (result.status === "rejected") throw result.reason;
}

export function newDisk(virtualSizeBytes: number, format: DiskFormat = "raw"): NewDisk & StoredRef {
  return { id: diskId(randomUUID()), format, virtualSizeBytes };
}

/** Content that a seed repeats: runs of noise between runs of zeroes, of 4 to 132 KiB each. */
export function content(sizeBytes: number, seed: number): Uint8Array {
  const bytes = dense(sizeBytes, seed);
  const random = randomFrom(seed);
  for (let start = 0, isNoise = true; start < sizeBytes; isNoise = !isNoise) {
    const end = Math.min(sizeBytes, start + 4 * KiB + (random() % (128 * KiB)));
    if (!isNoise) bytes.fill(0, start, end);
    start = end;
  }
  return bytes;
}

/** Noise without a zero in it. */
export function dense(sizeBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  const shift = (seed * 7919) % KiB;
  for (let start = 0; start < sizeBytes; start += NOISE.length - KiB) {
    bytes.set(NOISE.subarray(shift, shift + Math.min(NOISE.length - KiB, sizeBytes - start)), start);
  }
  return bytes;
}

/** A prime number of bytes, so that no two blocks of a disk are alike. */
const NOISE = makeNoise(1_000_003);

function makeNoise(sizeBytes: number): Uint8Array {
  const random = randomFrom(1);
  return new Uint8Array(sizeBytes).map(() => random() >>> 24 || 1);
}

/** Whole numbers up to 2³². */
function randomFrom(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
}

const BLOCK_BYTES = MiB;

/** Stores bytes as an upload does: in order, in page-aligned blocks. */
export async function put(driver: StorageDriver, disk: NewDisk, bytes: Uint8Array, options?: WorkOptions): Promise<void> {
  const writer = await driver.receive(disk, options);
  const [block] = alignedBlocks(1, BLOCK_BYTES);
  assert.ok(block);
  for (let offset = 0; offset < bytes.length; offset += BLOCK_BYTES) {
    const part = bytes.subarray(offset, offset + BLOCK_BYTES);
    block.set(part);
    await writer.write(block.subarray(0, part.length), offset);
  }
  await writer.finish(bytes.length);
}

/** Stores bytes in a new raw disk of that size. */
export async function putNew(driver: StorageDriver, bytes: Uint8Array): Promise<NewDisk & StoredRef> {
  const disk = newDisk(bytes.length);
  await put(driver, disk, bytes);
  return disk;
}

export async function get(driver: StorageDriver, ref: StoredRef, range?: ByteRange): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const all = async () => ({ start: 0, end: (await driver.stat(ref.id))?.sizeBytes ?? 0 });
  for await (const part of driver.read(ref, range ?? (await all()))) parts.push(part.slice());
  return Buffer.concat(parts);
}

export async function assertContent(driver: StorageDriver, ref: StoredRef, expected: Uint8Array): Promise<void> {
  assert.equal((await driver.stat(ref.id))?.sizeBytes, expected.length);
  const found = await get(driver, ref, { start: 0, end: expected.length });
  assert.equal(found.length, expected.length);
  const difference = Buffer.compare(found, expected) === 0 ? -1 : found.findIndex((byte, i) => byte !== expected[i]);
  assert.equal(difference, -1, `the first byte that differs is ${difference}`);
}

/** `bytes` followed by zeroes. */
export function padded(bytes: Uint8Array, sizeBytes: number): Uint8Array {
  const larger = new Uint8Array(sizeBytes);
  larger.set(bytes);
  return larger;
}

/** Writes into a disk as its user would, and returns its new content: in place where QEMU can open it, else all of it anew. */
export async function scribble(driver: StorageDriver, ref: StoredRef, before: Uint8Array, seed: number): Promise<Uint8Array> {
  const after = before.slice();
  const start = Math.min(8 * KiB, before.length & ~511);
  const end = Math.min(start + 96 * KiB, before.length & ~511);
  after.fill(seed, start, end);
  if (driver.can.addressable === "write") await writeNode(await driver.open(ref, "write"), seed, { start, end });
  else await put(driver, ref, after);
  return after;
}

/** The bytes of a qcow2 file with that content. */
export async function packed(bytes: Uint8Array): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "mica-packed-"));
  try {
    await writeFile(join(folder, "raw"), bytes);
    await writeFile(join(folder, "qcow2"), "");
    await convert(fileNode(join(folder, "raw"), "raw"), { filename: join(folder, "qcow2"), format: "qcow2", clusters: "zstd" });
    return await readFile(join(folder, "qcow2"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Has QEMU write one byte over a range of a node. */
export async function writeNode(node: BlockNode, byte: number, { start, end }: ByteRange): Promise<void> {
  const write = `write -P ${byte} ${start} ${end - start}`;
  await run("qemu-io", [...objectArguments([node]), "-c", write, "-c", "flush", jsonFilename(node)], { timeoutMs: 30 * SECOND_MS });
}

/** Neither whole nor partial: nothing at all. */
export async function assertGone(driver: StorageDriver, id: DiskId): Promise<void> {
  assert.equal(await driver.stat(id), undefined);
  assert.deepEqual(
    (await listed(driver)).filter((disk) => disk.id === id),
    [],
  );
}

export async function listed(driver: StorageDriver): Promise<StoredDisk[]> {
  return Array.fromAsync(driver.list());
}

export async function rejectsWith(code: ErrorCode, work: () => Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof AppError, `it is an AppError: ${error}`);
    assert.equal(error.code, code, error.message);
    return true;
  });
}

/** A signal that is set before the call. */
export const cancelled: WorkOptions = { signal: AbortSignal.abort() };

/** Options that cancel at the first sign of progress. */
export function cancelInTheMiddle(): WorkOptions {
  const stop = new AbortController();
  return { signal: stop.signal, onProgress: () => stop.abort() };
}

import { type FileHandle, open } from "node:fs/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { HOUR_MS, MiB } from "#/lib/units.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import { roundUp, SECTOR_BYTES } from "#/storage/lvm/layout.ts";
import { zeroRange } from "#/tools/libc.ts";
import { run } from "#/tools/run.ts";

/** As much as is zeroed in one call: between two calls it can be cancelled. */
const STEP_BYTES = 32 * MiB;
/** Only a table changes; below it, a slow disk may want to know each block. */
const DISCARD_TIME_LIMIT_MS = HOUR_MS;

/** Overwrites ranges of a device with zeroes, in order, on stable storage when it is done. They begin and end at whole sectors. */
export async function zero(path: string, ranges: readonly ByteRange[], { signal, onProgress }: WorkOptions = {}): Promise<void> {
  await using device = await open(path, "r+");
  const totalBytes = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  let doneBytes = 0;
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += STEP_BYTES) {
      throwIfCancelled(signal);
      const step = { start: at, end: Math.min(end, at + STEP_BYTES) };
      await zeroRange(device.fd, step);
      doneBytes += step.end - step.start;
      onProgress?.(doneBytes / totalBytes);
    }
  }
  await device.sync();
}

/** Clears what lies behind `sizeBytes` in its sector: whoever wrote that sector wrote all of it. */
export async function clearTail(path: string, sizeBytes: number): Promise<void> {
  const usedBytes = sizeBytes % SECTOR_BYTES;
  if (usedBytes === 0) return;
  await using device = await open(path, "r+");
  await writeFully(device, Buffer.alloc(SECTOR_BYTES - usedBytes), sizeBytes);
  await device.sync();
}

async function writeFully(device: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await device.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
}

/** Gives a thin volume's blocks back, also to the disks below its pool: removing the volume alone would not tell those. */
export async function discard(path: string, { signal }: WorkOptions = {}): Promise<void> {
  await run("blkdiscard", ["--force", path], { timeoutMs: DISCARD_TIME_LIMIT_MS, signal });
}

/** Sizes that a node of QEMU's may have. */
export function wholeSectors(sizeBytes: number): number {
  return roundUp(sizeBytes, SECTOR_BYTES);
}

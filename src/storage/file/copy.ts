import { type FileHandle, open } from "node:fs/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { MiB } from "#/lib/units.ts";
import type { WorkOptions } from "#/storage/driver.ts";
import { copyFileRange, nextData, nextHole } from "#/tools/libc.ts";

/** As much as is copied in one call: between two calls it can be cancelled. */
const STEP_BYTES = 8 * MiB;

/**
 * Copies a file's content into an empty file of the same file system, by the kernel or the file server, holes left out. The
 * bytes don't pass through us.
 */
export async function copyInside(sourcePath: string, targetPath: string, { signal, onProgress }: WorkOptions = {}): Promise<void> {
  await using source = await open(sourcePath, "r");
  await using target = await open(targetPath, "r+");
  const sizeBytes = (await source.stat()).size;
  await target.truncate(sizeBytes);
  for (let offset = 0; offset < sizeBytes; ) {
    const start = (await nextData(source.fd, offset)) ?? sizeBytes;
    const end = start < sizeBytes ? await nextHole(source.fd, start) : sizeBytes;
    for (let at = start; at < end; ) {
      throwIfCancelled(signal);
      at += await copyStep(source, target, at, Math.min(STEP_BYTES, end - at));
      onProgress?.(at / sizeBytes);
    }
    offset = end;
  }
  onProgress?.(1);
}

async function copyStep(source: FileHandle, target: FileHandle, offset: number, lengthBytes: number): Promise<number> {
  const copiedBytes = await copyFileRange({ fd: source.fd, offset }, { fd: target.fd, offset }, lengthBytes);
  if (copiedBytes === 0) throw new AppError("disk_not_found", `it ends at byte ${offset}`);
  return copiedBytes;
}

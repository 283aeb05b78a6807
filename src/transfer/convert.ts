import { rm } from "node:fs/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { NewDisk, StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { copyInto } from "#/transfer/copy-blocks.ts";

export interface Source {
  readonly pool: StorageDriver;
  readonly disk: StoredRef;
}
export interface Target {
  readonly pool: StorageDriver;
  readonly disk: NewDisk;
}
export interface Conversion extends WorkOptions {
  readonly source: Source;
  readonly target: Target;
  readonly compress?: boolean | undefined;
}
export interface Moved {
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Makes the target with the content of the source, in its own format, in one pass and without a temporary file. */
export async function convert({ source, target, compress, ...options }: Conversion): Promise<Moved> {
  if (source.pool.can.addressable && target.pool.can.addressable) {
    const from = await source.pool.open(source.disk, "read");
    await target.pool.fill(target.disk, (node) => qemuImg.convert(from, destination(node, target.disk.format, compress), options), options);
    return { bytesRead: await allocated(source), bytesWritten: await allocated(target) };
  }
  if (source.disk.format !== target.disk.format) {
    throw new AppError("not_supported", `Cannot convert disk ${source.disk.id} in place: no tool can open it.`);
  }
  const { sizeBytes } = await stored(source);
  const writer = await target.pool.receive(target.disk, options);
  return copyInto(writer, source.pool.read(source.disk, { start: 0, end: sizeBytes }, options), {
    sizeBytes: target.disk.format === "raw" ? Math.max(sizeBytes, target.disk.virtualSizeBytes) : sizeBytes,
    onBytes: (total) => options.onProgress?.(total / sizeBytes),
  });
}

/** Bytes that the conversion will need in the target's pool, known before the first one is written. */
export async function measure({ source, targetFormat }: { source: Source; targetFormat: DiskFormat }): Promise<number> {
  const { allocatedBytes } = await stored(source);
  if (source.pool.can.addressable && (targetFormat === "raw" || targetFormat === "qcow2")) {
    return qemuImg.measure(await source.pool.open(source.disk, "read"), targetFormat);
  }
  return source.disk.format === "raw" ? allocatedBytes : source.disk.virtualSizeBytes;
}

export interface StagedConversion extends WorkOptions {
  readonly source: Source;
  readonly target: Target;
  readonly staging: { readonly path: string; readonly sizeBytesMax: number };
}

/** As `convert()`, for a source that no tool can open in place: through a temporary file, which is removed whatever happens. */
export async function stageThenConvert({ source, target, staging, ...options }: StagedConversion): Promise<Moved & { bytesTemporary: number }> {
  if (source.pool.can.addressable || source.disk.format === target.disk.format) {
    return { ...(await convert({ source, target, ...options })), bytesTemporary: 0 };
  }
  throw new AppError("not_supported", `Cannot stage disk ${source.disk.id} at ${staging.path}.`);
}

/** Removes what a crash left of staging files. At start-up, before the first conversion. */
export async function clearStaging(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
}

function destination(node: BlockNode, format: DiskFormat, compress: boolean | undefined): BlockNode | qemuImg.NewFile {
  if (format === "raw") return node;
  const [filename] = qemuImg.filesOf(node);
  if (!filename) throw new Error("Broken invariant: a node has a file");
  return { filename, format: (format === "vhd" ? "vpc" : format) as qemuImg.FileFormat, compress };
}

async function stored({ pool, disk }: Source) {
  const found = await pool.stat(disk.id);
  if (!found) throw new AppError("disk_not_found", `Cannot read disk ${disk.id}: it is not in its pool.`);
  return found;
}

async function allocated({ pool, disk }: Source | Target): Promise<number> {
  return (await pool.stat(disk.id))?.allocatedBytes ?? 0;
}

import { truncate } from "node:fs/promises";
import { fileNode } from "#/domain/block-node.ts";
import type { FileSystem } from "#/domain/file-system.ts";
import { MiB } from "#/lib/units.ts";
import type { NewDisk, StorageDriver, WorkOptions } from "#/storage/driver.ts";
import { makeFileSystem } from "#/tools/mkfs.ts";
import { convert } from "#/tools/qemu-img.ts";
import { type Staging, StagingFile } from "#/transfer/staging.ts";

/** What an empty file system writes: under 1 MiB for each 100 GiB. */
const WRITTEN_BYTES = 64 * MiB;

/**
 * Makes a disk with an empty file system in it, in any pool that QEMU can write to: the file system is made in a sparse temporary
 * file, of which only what was written is copied. Errors: those of the pool, of staging, of mke2fs and qemu-img.
 */
export async function fillWithFileSystem(
  pool: StorageDriver,
  disk: NewDisk,
  { fileSystem, staging, signal, onProgress }: WorkOptions & { readonly fileSystem: FileSystem; readonly staging: Staging },
): Promise<void> {
  await using file = await StagingFile.create(staging, "target", WRITTEN_BYTES);
  await truncate(file.path, disk.virtualSizeBytes);
  await makeFileSystem(file.path, fileSystem, { signal });
  await pool.fill(disk, (node, bytesPerSecondMax) => convert(fileNode(file.path, "raw"), node, { signal, onProgress, bytesPerSecondMax }), { signal });
}

import { createHash } from "node:crypto";
import { AppError } from "#/domain/errors.ts";
import type { StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";

export interface ContentHashes {
  /** Hex digits. */
  readonly md5: string;
  readonly sha512: string;
  readonly sizeBytes: number;
}

/** Reads the whole stored content of a disk and hashes it. Errors: as `pool.read()`; `disk_not_found`. */
export async function hashDisk(pool: StorageDriver, disk: StoredRef, { signal, onProgress }: WorkOptions = {}): Promise<ContentHashes> {
  const stored = await pool.stat(disk.id);
  if (!stored) throw new AppError("disk_not_found", `Cannot hash disk ${disk.id}: it is not there.`);
  const md5 = createHash("md5");
  const sha512 = createHash("sha512");
  let doneBytes = 0;
  for await (const block of pool.read(disk, { start: 0, end: stored.sizeBytes }, { signal })) {
    md5.update(block);
    sha512.update(block);
    doneBytes += block.length;
    onProgress?.(doneBytes / stored.sizeBytes);
  }
  return { md5: md5.digest("hex"), sha512: sha512.digest("hex"), sizeBytes: doneBytes };
}

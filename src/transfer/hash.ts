import { AppError } from "#/domain/errors.ts";
import type { StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Hashes, Hashing } from "#/transfer/hashing.ts";
import { Outlet } from "#/transfer/outlet.ts";
import { Slots } from "#/transfer/slots.ts";

/** Reads the whole stored content of a disk once and hashes it, off the event loop. Errors: as `pool.read()`; `disk_not_found`. */
export async function hashDisk(pool: StorageDriver, disk: StoredRef, { signal, onProgress }: WorkOptions = {}): Promise<Hashes & { readonly sizeBytes: number }> {
  const stored = await pool.stat(disk.id, disk.location);
  if (!stored) throw new AppError("disk_not_found", `Cannot hash disk ${disk.id}: it is not in its pool.`);
  const { sizeBytes } = stored;
  using slots = new Slots();
  using hashing = new Hashing();
  const out = new Outlet(slots, (block) => hashing.update(block));
  try {
    let doneBytes = 0;
    for await (const block of pool.read(disk, { start: 0, end: sizeBytes }, { signal })) {
      await out.write(block);
      doneBytes += block.length;
      onProgress?.(doneBytes / sizeBytes);
    }
    await out.flush();
    return { ...(await hashing.digest()), sizeBytes };
  } finally {
    await out.close();
  }
}

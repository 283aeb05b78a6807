import type { DiskId } from "#/domain/ids.ts";
import type { StoredDisk } from "#/storage/driver.ts";
import { parseName } from "#/storage/rbd/names.ts";
import type { RbdListed } from "#/tools/rbd.ts";

/**
 * The disks that a pool's images and snapshots make. An image's own name says whose it is; a snapshot that is named after a disk was taken
 * for that disk, and where the disk is not there it is unfinished work of it.
 */
export function storedDisks(listed: readonly RbdListed[], usedBytes: ReadonlyMap<string, number>): StoredDisk[] {
  const disks = new Map<DiskId, StoredDisk>();
  for (const { image, snapshot, sizeBytes, parent } of listed) {
    const named = parseName(snapshot ?? image);
    if (!named) continue;
    const isPartial = named.isPartial || snapshot !== undefined;
    const allocatedBytes = snapshot === undefined ? (usedBytes.get(image) ?? 0) : 0;
    const disk: StoredDisk = { id: named.id, sizeBytes, allocatedBytes, parent: parseName(parent?.image)?.id, ...(isPartial && { partial: true }) };
    if (!isPartial || !disks.has(named.id)) disks.set(named.id, disk);
  }
  return [...disks.values()];
}

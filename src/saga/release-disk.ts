import { disksOf, findDisk, hasChildren, removeDisk, setDiskDeleting, setDiskHolder } from "#/db/disks.ts";
import type { Holder } from "#/domain/disk.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { SagaServices } from "#/saga/context.ts";
import type { WorkOptions } from "#/storage/driver.ts";

type Services = Pick<SagaServices, "db" | "pools" | "locks">;

/**
 * Ends the hold of a record on its disk. The bytes go, or, where other disks still read through them, stay as an
 * ancestor that goes with the last of those. A delete therefore never has to wait for, or fail because of, clones.
 * Repeatable; no-op where there is no such disk. Where the pool overwrites what goes, that may take long, and can be cancelled.
 */
export async function releaseDisk(services: Services, id: DiskId, options?: WorkOptions): Promise<void> {
  const parent = await releaseOne(services, id, options);
  if (parent) await releaseAncestors(services, parent);
}

/** Ends a record's hold on whatever it has, whole or partial. Its own reference to the disk is gone by then. */
export async function releaseDisksOf(services: Services, holder: Holder, options?: WorkOptions): Promise<void> {
  const disks = await disksOf(services.db, holder);
  for (const { id } of disks) await releaseDisk(services, id, options);
}

/** Removes the ancestor `id`, and those that it stands on, as far as nothing stands on them any more. */
export async function releaseAncestors(services: Services, id: DiskId): Promise<void> {
  for (let next: DiskId | undefined = id; next; ) {
    const disk = await findDisk(services.db, next);
    if (disk?.holder.kind !== "ancestor") return;
    next = await releaseOne(services, next);
  }
}

/** The parent of what was removed; undefined where nothing was, or it stood alone. */
async function releaseOne({ db, pools, locks }: Services, id: DiskId, options?: WorkOptions): Promise<DiskId | undefined> {
  await using _ = await locks.take(id);
  const disk = await db.transaction().execute(async (trx) => {
    const found = await findDisk(trx, id);
    if (!found) return undefined;
    if (await hasChildren(trx, id)) {
      await setDiskHolder(trx, id, { kind: "ancestor", id });
      return undefined;
    }
    await setDiskDeleting(trx, id);
    return found;
  });
  if (!disk) return undefined;
  // Registered bytes are not ours to delete.
  if (disk.location === undefined) await pools.get(disk.pool).delete(id, options);
  await db.transaction().execute((trx) => removeDisk(trx, id));
  return disk.parent;
}

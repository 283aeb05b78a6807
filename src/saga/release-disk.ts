import type { Database } from "#/db/database.ts";
import { disksOf, findDisk, hasChildren, removeDisk, setDiskDeleting, setDiskHolder, setDiskParent } from "#/db/disks.ts";
import type { Disk, Holder } from "#/domain/disk.ts";
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
  if (!(await deleteUnread(services, id, options))) return;
  await leaveAncestors(services, id, (trx) => removeDisk(trx, id));
}

/** Ends a record's hold on whatever it has, whole or partial. Its own reference to the disk is gone by then. */
export async function releaseDisksOf(services: Services, holder: Holder, options?: WorkOptions): Promise<void> {
  const disks = await disksOf(services.db, holder);
  for (const { id } of disks) await releaseDisk(services, id, options);
}

/** Removes the ancestor `id`, and those that it stands on, as far as nothing stands on them any more. */
export async function releaseAncestor(services: Services, id: DiskId): Promise<void> {
  const disk = await findDisk(services.db, id);
  if (disk?.holder.kind === "ancestor") await releaseDisk(services, id);
}

/**
 * Removes what only the disk `id` stood on, which it reads no more, the nearest first. `last` is done in the transaction that finds nothing left to remove: until then
 * the disk's record names what is left, so that whoever repeats this finds it. Repeatable.
 */
export async function leaveAncestors(services: Services, id: DiskId, last: (trx: Database) => Promise<void>): Promise<void> {
  const { db, pools, locks } = services;
  for (let next = (await findDisk(db, id))?.parent; ; next = (await findDisk(db, id))?.parent) {
    await using _ = next && (await locks.take(next));
    const ancestor = await db.transaction().execute(async (trx) => {
      const unread = await ancestorOnlyOf(trx, id);
      if (unread) await setDiskDeleting(trx, unread.id);
      else await last(trx);
      return unread;
    });
    if (!ancestor) return;
    if (isOurs(ancestor)) await pools.get(ancestor.pool).delete(ancestor.id);
    await db.transaction().execute(async (trx) => {
      await setDiskParent(trx, id, ancestor.parent);
      await removeDisk(trx, ancestor.id);
    });
  }
}

/** The ancestor that the disk stands on, where nothing else does. */
async function ancestorOnlyOf(trx: Database, id: DiskId): Promise<Disk | undefined> {
  const parent = (await findDisk(trx, id))?.parent;
  const disk = parent && (await findDisk(trx, parent));
  return disk?.holder.kind === "ancestor" && !(await hasChildren(trx, disk.id, { butFor: id })) ? disk : undefined;
}

/** Removes the bytes of a disk. True where its record may go too; where others read through them they stay, and so does that, as an ancestor. Repeatable. */
export async function deleteUnread({ db, pools, locks }: Services, id: DiskId, options?: WorkOptions): Promise<boolean> {
  await using _ = await locks.take(id);
  const disk = await db.transaction().execute(async (trx) => {
    const found = await findDisk(trx, id);
    if (!found) return undefined;
    const isRead = await hasChildren(trx, id);
    await (isRead ? setDiskHolder(trx, id, { kind: "ancestor", id }) : setDiskDeleting(trx, id));
    return isRead ? undefined : found;
  });
  if (disk && isOurs(disk)) await pools.get(disk.pool).delete(id, options);
  return disk !== undefined;
}

/** Registered bytes are not ours to delete. */
function isOurs({ location }: Disk): boolean {
  return location === undefined;
}

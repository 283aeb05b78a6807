import { findDisk, getDisk, insertDisk, removeDisk, setDiskHolder, setDiskParent, setDiskReady } from "#/db/disks.ts";
import type { Disk, Holder } from "#/domain/disk.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { SagaServices } from "#/saga/context.ts";
import { refuseWhileOpen } from "#/saga/open-in-guest.ts";
import { releaseDisk } from "#/saga/release-disk.ts";
import type { Capabilities, Lineage } from "#/storage/driver.ts";

type Services = Pick<SagaServices, "db" | "pools" | "clock" | "locks" | "hypervisor">;

/**
 * Freezes what the disk `source` holds now as the new disk `target`, held by `holder`; `source` goes on.
 *
 * Where the pool's clones are dependent, one of the two comes to stand on the other: `source` on `target`, so that the very bytes
 * change their name, or `target` on `source`. So the lineage is recorded *before* the storage changes, and a crash between the two
 * never lets anybody remove bytes that are still needed. Repeatable.
 */
export async function freezeDisk(services: Services, source: DiskId, target: DiskId, holder: Holder): Promise<Disk> {
  const { db, pools } = services;
  await using _ = await services.locks.take(source);
  const live = await getDisk(db, source);
  const pool = pools.get(live.pool);
  await recordFreeze(services, live, { target, holder });
  await pool.snapshot(live, { id: target, format: live.format, virtualSizeBytes: live.virtualSizeBytes });
  await db.transaction().execute((trx) => setDiskReady(trx, target));
  return await getDisk(db, target);
}

/**
 * Does what comes first of `freezeDisk`, for one that has to be quick then. Taken back by `unfreezeDisk` too. Where the source comes to stand on the target nothing is done: no guest runs that
 * waits for it, and whatever else is done to the source in between would find a parent that has no bytes yet.
 */
export async function prepareFreeze(services: Services, source: DiskId, target: DiskId, holder: Holder): Promise<void> {
  await using _ = await services.locks.take(source);
  const live = await getDisk(services.db, source);
  if (lineageOf(services.pools.get(live.pool).can, live, target).source) return;
  await recordFreeze(services, live, { target, holder });
}

/** Who will read through whom. */
function lineageOf({ clone, snapshotReadsSource }: Capabilities, live: Disk, target: DiskId): Lineage {
  if (clone !== "dependent") return { target: undefined };
  return snapshotReadsSource ? { target: live.id } : { target: live.parent, source: target };
}

/** One that was begun is brought to its end. */
async function recordFreeze(services: Services, live: Disk, { target, holder }: { target: DiskId; holder: Holder }): Promise<void> {
  const { db, clock, pools } = services;
  if (await findDisk(db, target)) return;
  await refuseWhileOpen(services, live);
  const lineage = lineageOf(pools.get(live.pool).can, live, target);
  await db.transaction().execute(async (trx) => {
    await insertDisk(trx, { ...live, id: target, parent: lineage.target, holder }, { reservedBytes: 0, nowMs: clock.nowMs() });
    if (lineage.source) await setDiskParent(trx, live.id, lineage.source);
  });
}

/**
 * Takes back a freeze. Where the source already stands on the frozen disk, that stays as its ancestor, since going back
 * would mean to copy; the content of the source is the same either way. Repeatable.
 */
export async function unfreezeDisk(services: Services, source: DiskId, target: DiskId): Promise<void> {
  const frozen = await findDisk(services.db, target);
  if (!frozen) return;
  const pool = services.pools.get(frozen.pool);
  if (pool.can.clone !== "dependent" || pool.can.snapshotReadsSource) return releaseDisk(services, target);
  const happened = (await pool.stat(target)) !== undefined;
  if (happened) return keepAsAncestor(services, source, target);
  await services.db.transaction().execute(async (trx) => {
    const live = await findDisk(trx, source);
    if (live?.parent === target) await setDiskParent(trx, source, frozen.parent);
    await removeDisk(trx, target);
  });
}

/** The freeze may have got half-way: it is finished first, then its holder lets go. */
async function keepAsAncestor(services: Services, source: DiskId, target: DiskId): Promise<void> {
  if (await findDisk(services.db, source)) await freezeDisk(services, source, target, { kind: "ancestor", id: target });
  await services.db.transaction().execute((trx) => setDiskHolder(trx, target, { kind: "ancestor", id: target }));
  await releaseDisk(services, target);
}

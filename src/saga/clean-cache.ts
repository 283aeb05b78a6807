import { cacheEntriesOfPool } from "#/db/cache-entries.ts";
import { hasChildren } from "#/db/disks.ts";
import type { CacheEntryTable } from "#/db/tables.ts";
import { diskId, type PoolName } from "#/domain/ids.ts";
import { dropCacheEntry } from "#/saga/cache-room.ts";
import type { SagaContext, SagaServices } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import type { Pool } from "#/storage/pool.ts";

export interface CleanCache {
  readonly pool: PoolName;
}

/**
 * Drops the images in a pool's cache that nobody used for long, and where the pool is nearly full those that nobody used lately, the least
 * recently used first, until enough is free. Nothing to undo: an image that is asked for again is converted again. Nova's age
 * (nova/virt/libvirt/imagecache.py), and NetApp's cache cleaner (cinder/volume/drivers/netapp/dataontap/nfs_base.py, `_clean_image_cache`),
 * but for the order: there the largest goes first.
 */
export const cleanCache: Saga<SagaContext<CleanCache>> = {
  name: "clean-cache",
  steps: [{ name: "clean", run: clean }],
};

async function clean(context: SagaContext<CleanCache>, { signal, progress }: StepScope): Promise<void> {
  const pool = context.pools.get(context.params.pool);
  const { untilPercentage, unusedMsMax } = pool.limits.cacheCleaning;
  const isShort = await isNearlyFull(pool);
  const entries = await idleEntries(context, pool);
  for (const [index, entry] of entries.entries()) {
    signal.throwIfAborted();
    const isOld = isUnused(entry, unusedMsMax, context.clock.nowMs());
    if (!isOld && !(isShort && (await freePercentage(pool)) < untilPercentage)) return;
    await dropCacheEntry(context, entry.image_id, pool.name);
    progress((index + 1) / entries.length);
  }
}

/** Whether a cleaning would do something now. */
export async function needsCleaning(services: Pick<SagaServices, "db" | "clock">, pool: Pool): Promise<boolean> {
  const [oldest] = await idleEntries(services, pool);
  if (!oldest) return false;
  return isUnused(oldest, pool.limits.cacheCleaning.unusedMsMax, services.clock.nowMs()) || isNearlyFull(pool);
}

function isUnused({ last_used_at }: CacheEntryTable, unusedMsMax: number, nowMs: number): boolean {
  return unusedMsMax > 0 && last_used_at < nowMs - unusedMsMax;
}

async function isNearlyFull(pool: Pool): Promise<boolean> {
  return (await freePercentage(pool)) < pool.limits.cacheCleaning.belowPercentage;
}

/** Least recently used first. What others read through stays: without its entry it would take as much, and be of no use. */
async function idleEntries({ db, clock }: Pick<SagaServices, "db" | "clock">, { name, limits }: Pool): Promise<CacheEntryTable[]> {
  const { idleMsMin, unusedMsMax } = limits.cacheCleaning;
  const usedBeforeMs = clock.nowMs() - Math.min(idleMsMin, unusedMsMax || idleMsMin);
  const entries = await cacheEntriesOfPool(db, name);
  const old = entries.filter(({ state, last_used_at }) => state === "ready" && last_used_at <= usedBeforeMs);
  const areRead = await Promise.all(old.map(({ disk_id }) => hasChildren(db, diskId(disk_id))));
  return old.filter((_, index) => !areRead[index]);
}

async function freePercentage(pool: Pool): Promise<number> {
  const { freeBytes, totalBytes } = await pool.capacity();
  return (100 * freeBytes) / totalBytes;
}

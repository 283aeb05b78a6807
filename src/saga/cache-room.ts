import { cacheEntriesOfPool, findCacheEntry, removeCacheEntry } from "#/db/cache-entries.ts";
import { diskId, type PoolName } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import { releaseDisk } from "#/saga/release-disk.ts";

/**
 * Makes room for one entry more of about `sizeBytes`: drops the least recently used ones beyond the pool's limits, and
 * counts those that are being filled. Their clones keep what they read through as an ancestor. False where the entry alone
 * passes the limit, or what is being filled leaves no room.
 */
export async function makeRoomInCache(context: SagaContext<object>, poolName: PoolName, sizeBytes: number): Promise<boolean> {
  const { cacheCountMax, cacheSizeBytesMax } = context.pools.get(poolName).limits;
  if (cacheSizeBytesMax > 0 && sizeBytes > cacheSizeBytesMax) return false;
  const entries = await cacheEntriesOfPool(context.db, poolName);
  const idle = entries.filter(({ state }) => state === "ready");
  let keptBytes = entries.reduce((sum, entry) => sum + entry.size_bytes, 0);
  let kept = entries.length;
  const fits = () => (cacheCountMax <= 0 || kept < cacheCountMax) && (cacheSizeBytesMax <= 0 || keptBytes + sizeBytes <= cacheSizeBytesMax);
  for (const entry of idle) {
    if (fits()) break;
    await evict(context, entry.image_id, poolName, entry.disk_id);
    kept -= 1;
    keptBytes -= entry.size_bytes;
  }
  return fits();
}

/** The disk goes first: after a crash between the two, whoever meets the entry finds its disk gone and drops it too. */
async function evict(context: SagaContext<object>, imageId: string, pool: PoolName, disk: string): Promise<void> {
  await releaseDisk(context, diskId(disk));
  await context.db.transaction().execute((trx) => removeCacheEntry(trx, imageId, pool));
}

/** Forgets a ready entry, so that the next who asks fills a new one. Its clones keep what they read through. */
export async function dropCacheEntry(context: SagaContext<object>, imageId: string, pool: PoolName): Promise<void> {
  const entry = await findCacheEntry(context.db, imageId, pool);
  if (entry?.state === "ready") await evict(context, imageId, pool, entry.disk_id);
}

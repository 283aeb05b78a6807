import { cacheEntriesOfPool, removeCacheEntry, setCacheEntryReady } from "#/db/cache-entries.ts";
import { diskId, type PoolName } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import { discardTarget, fillTarget, type Materialisation, recordTarget } from "#/saga/materialise.ts";
import { releaseDisk } from "#/saga/release-disk.ts";

export interface FillCache {
  readonly imageId: string;
  readonly pool: PoolName;
  /** The entry's disk; its id is that of the operation that made the entry. */
  readonly diskId: string;
  /** The image's disk. */
  readonly sourceDiskId: string;
  readonly virtualSizeBytes: number;
  readonly strategy: "stream_convert" | "staged_convert";
}

/**
 * Converts an image once into a pool's cache, for all who wait for it. The entry itself was recorded, in the state
 * `filling`, by whoever found it missing (`cached-image.ts`).
 */
export const fillCache: Saga<SagaContext<FillCache>> = {
  name: "fill-cache",
  steps: [
    {
      name: "record",
      run: (context) => recordTarget(context, materialisation(context)),
      undo: (context) => forgetEntry(context),
    },
    {
      name: "convert",
      run: async (context, scope) => context.report(await fillTarget(context, materialisation(context), scope)),
      undo: (context) => discardTarget(context, materialisation(context).target),
    },
    {
      name: "publish",
      run: publish,
    },
  ],
};

function materialisation({ params }: SagaContext<FillCache>): Materialisation {
  const { imageId, pool, virtualSizeBytes, strategy } = params;
  return {
    strategy,
    source: diskId(params.sourceDiskId),
    target: { id: diskId(params.diskId), pool, format: "raw", virtualSizeBytes, holder: { kind: "cache", id: imageId } },
  };
}

async function publish({ db, pools, params }: SagaContext<FillCache>): Promise<void> {
  const stored = await pools.get(params.pool).stat(diskId(params.diskId));
  await db.transaction().execute((trx) => setCacheEntryReady(trx, params.imageId, params.pool, stored?.allocatedBytes ?? 0));
}

async function forgetEntry(context: SagaContext<FillCache>): Promise<void> {
  await discardTarget(context, materialisation(context).target);
  await context.db.transaction().execute((trx) => removeCacheEntry(trx, context.params.imageId, context.params.pool));
}

/**
 * Makes room for one entry more of `sizeBytes`: drops the least recently used ones beyond the pool's limits.
 * Their clones keep what they read through as an ancestor. False where the entry alone passes the limit.
 */
export async function makeRoomInCache(context: SagaContext<object>, poolName: PoolName, sizeBytes: number): Promise<boolean> {
  const { cacheCountMax, cacheSizeBytesMax } = context.pools.get(poolName).limits;
  if (cacheSizeBytesMax > 0 && sizeBytes > cacheSizeBytesMax) return false;
  const entries = await cacheEntriesOfPool(context.db, poolName);
  let keptBytes = entries.reduce((sum, entry) => sum + entry.size_bytes, 0);
  let kept = entries.length;
  for (const entry of entries) {
    const fits = (cacheCountMax <= 0 || kept < cacheCountMax) && (cacheSizeBytesMax <= 0 || keptBytes + sizeBytes <= cacheSizeBytesMax);
    if (fits) break;
    await evict(context, entry.image_id, poolName, entry.disk_id);
    kept -= 1;
    keptBytes -= entry.size_bytes;
  }
  return true;
}

/** The disk goes first: after a crash between the two, whoever meets the entry finds its disk gone and drops it too. */
async function evict(context: SagaContext<object>, imageId: string, pool: PoolName, disk: string): Promise<void> {
  await releaseDisk(context, diskId(disk));
  await context.db.transaction().execute((trx) => removeCacheEntry(trx, imageId, pool));
}

import { randomUUID } from "node:crypto";
import { findCacheEntry, insertCacheEntry, removeCacheEntry, touchCacheEntry } from "#/db/cache-entries.ts";
import { findDisk, getDisk } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import type { CacheEntryTable } from "#/db/tables.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { StepScope } from "#/saga/engine/saga.ts";
import { awaitOperation } from "#/saga/await-operation.ts";
import { makeRoomInCache } from "#/saga/cache-room.ts";
import { type FillCache, fillCache } from "#/saga/fill-cache.ts";

export interface CachedImage {
  readonly id: DiskId;
  /** It was filled while we waited: its bytes are our operation's too. */
  readonly isFilled: boolean;
}

/** How the plan converts, should it come to that: its entry may be gone by the time it runs. */
export function conversionOf({ strategy, fallbacks }: Plan): FillCache["strategy"] {
  return [strategy, ...fallbacks].includes("stream_convert") ? "stream_convert" : "staged_convert";
}

/**
 * The cached disk of the plan's image in the target's pool. Where it is missing, it is filled, once, however many ask at
 * the same time: the first to record the entry begins the fill, the others wait for that same operation.
 * Undefined where the cache does not take the image: then the conversion goes into the target itself.
 */
export async function cachedImage(context: SagaContext<object>, plan: Plan, source: DiskId, scope: StepScope): Promise<CachedImage | undefined> {
  const imageId = plan.source.id ?? "";
  const { pool } = plan.target;
  for (let isFilled = false; ; ) {
    scope.signal.throwIfAborted();
    const entry = await findCacheEntry(context.db, imageId, pool);
    if (!entry) {
      if (!(await beginFill(context, plan, source))) return undefined;
      continue;
    }
    if (entry.state === "filling") {
      const filled = await awaitOperation(context, entry.filled_by, scope);
      if (filled) await context.report(filled);
      isFilled = true;
      continue;
    }
    const disk = await findDisk(context.db, diskId(entry.disk_id));
    if (disk?.state === "ready") {
      await touchCacheEntry(context.db, imageId, pool, context.clock.nowMs());
      return { id: disk.id, isFilled };
    }
    await context.db.transaction().execute((trx) => removeCacheEntry(trx, imageId, pool));
  }
}

async function beginFill(context: SagaContext<object>, plan: Plan, source: DiskId): Promise<boolean> {
  const { db, clock, runner } = context;
  const disk = await getDisk(db, source);
  const sizeBytes = plan.bytes.written; // A guess, put right when the entry is ready: packed formats grow, holes go.
  if (!(await makeRoomInCache(context, plan.target.pool, sizeBytes))) return false;
  const params: FillCache = {
    imageId: plan.source.id ?? "",
    pool: plan.target.pool,
    diskId: randomUUID(),
    sourceDiskId: source,
    virtualSizeBytes: disk.virtualSizeBytes,
    strategy: conversionOf(plan),
  };
  return db.transaction().execute(async (trx) => {
    // An image that was deleted meanwhile gets no entry: nobody would ever purge it.
    if (!(await findImage(trx, params.imageId))) return false;
    const filledBy = await runner.begin(trx, fillCache, params, {
      projectId: null,
      userId: null,
      requestId: context.requestId,
      subject: { kind: "image", id: params.imageId },
    });
    const now = clock.nowMs();
    const row: CacheEntryTable = {
      image_id: params.imageId,
      pool: params.pool,
      disk_id: params.diskId,
      state: "filling",
      filled_by: filledBy,
      size_bytes: sizeBytes,
      hits: 0,
      created_at: now,
      last_used_at: now,
    };
    const mine = await insertCacheEntry(trx, row);
    if (!mine) await trx.deleteFrom("operation").where("id", "=", filledBy).execute();
    return true;
  });
}

import { cacheEntriesOfPool } from "#/db/cache-entries.ts";
import { poolName } from "#/domain/ids.ts";
import { dropCacheEntry } from "#/saga/cache-room.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga } from "#/saga/engine/saga.ts";

export interface EmptyCache {
  readonly pool: string;
}

/** Drops the cached images of a pool that takes no new disks: nobody would clone them again. There is nothing to undo. */
export const emptyCache: Saga<SagaContext<EmptyCache>> = {
  name: "empty-cache",
  steps: [
    {
      name: "drop",
      run: async (context, { progress, signal }) => {
        const pool = poolName(context.params.pool);
        const entries = await cacheEntriesOfPool(context.db, pool);
        for (const [index, { image_id }] of entries.entries()) {
          signal.throwIfAborted();
          await dropCacheEntry(context, image_id, pool);
          progress((index + 1) / entries.length);
        }
      },
    },
  ],
};

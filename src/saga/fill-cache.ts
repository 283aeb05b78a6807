import { removeCacheEntry, setCacheEntryReady } from "#/db/cache-entries.ts";
import { diskId, type PoolName } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import { discardTarget, fillTarget, type Materialisation, recordTarget } from "#/saga/materialise.ts";

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

async function publish(context: SagaContext<FillCache>): Promise<void> {
  const { db, params } = context;
  const sizeBytes = await entryBytes(context);
  await db.transaction().execute((trx) => setCacheEntryReady(trx, params.imageId, params.pool, sizeBytes));
}

/** What the conversion has said, unless a crash came before it could. */
async function entryBytes({ pools, params, actual }: SagaContext<FillCache>): Promise<number> {
  if (actual.bytesWritten !== undefined) return actual.bytesWritten - (actual.bytesTemporary ?? 0);
  return (await pools.get(params.pool).stat(diskId(params.diskId)))?.allocatedBytes ?? 0;
}

async function forgetEntry(context: SagaContext<FillCache>): Promise<void> {
  await discardTarget(context, materialisation(context).target);
  await context.db.transaction().execute((trx) => removeCacheEntry(trx, context.params.imageId, context.params.pool));
}

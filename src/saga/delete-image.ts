import { cacheEntriesOfImage, removeCacheEntry } from "#/db/cache-entries.ts";
import { snapshotsOfImage } from "#/db/snapshots.ts";
import type { CacheEntryTable } from "#/db/tables.ts";
import { diskId, type OperationId, operationId, type PoolName } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import { dropSnapshot } from "#/saga/delete-snapshot.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { dropInstant } from "#/saga/kept-instant.ts";
import { releaseDisk } from "#/saga/release-disk.ts";

export interface DeleteImage {
  readonly imageId: string;
  /** The disk that the image had; null where it had no bytes. */
  readonly diskId: string | null;
  /** What a pool has kept of the server's disk that it is an image of. */
  readonly keptDiskId?: string | null;
}

type Context = SagaContext<DeleteImage>;

/**
 * Removes what an image leaves behind; its record went in the transaction that began this. A deletion is never taken
 * back: whatever fails, the undo finishes it, and is repeated until it can.
 */
export const deleteImage: Saga<Context> = {
  name: "delete-image",
  steps: [
    { name: "end uploads", run: endUploads, undo: finish },
    { name: "release", run: release },
    { name: "purge cache", run: purgeCache },
    { name: "snapshots", run: dropSnapshots },
    { name: "kept instant", run: dropKept },
  ],
};

async function finish(context: Context): Promise<void> {
  await endUploads(context);
  await release(context);
  await purgeCache(context);
  await dropSnapshots(context);
  await dropKept(context);
}

/** Their bytes would come to nothing. What only reads the image goes on: a released disk stays as long as it is read through. */
async function endUploads(context: Context): Promise<void> {
  const open = [...(await openUploads(context)), ...(await openCaptures(context))];
  for (const id of open) await context.runner.cancel(id);
  await Promise.all(open.map((id) => context.runner.run(id)));
}

async function openUploads({ db, params }: Context): Promise<OperationId[]> {
  const open = db.selectFrom("operation").select("id").where("subject_id", "=", params.imageId).where("ended_at", "is", null);
  const rows = await open.where("saga", "in", ["upload-image", "register-location", "hash-image"]).execute();
  return rows.map(({ id }) => operationId(id));
}

/** Operations of a volume, or of a server, that make the image. Few are open at once. */
async function openCaptures({ db, params }: Context): Promise<OperationId[]> {
  const open = db.selectFrom("operation").select(["id", "params"]).where("ended_at", "is", null);
  const rows = await open.where("saga", "in", ["upload-volume", "capture-server"]).execute();
  return rows.filter((row) => (JSON.parse(row.params) as { imageId?: string | null }).imageId === params.imageId).map(({ id }) => operationId(id));
}

async function release(context: Context, scope?: StepScope): Promise<void> {
  const options = { signal: scope?.signal, onProgress: scope?.progress };
  if (context.params.diskId !== null) await releaseDisk(context, diskId(context.params.diskId), options);
}

async function dropKept(context: Context): Promise<void> {
  const { keptDiskId } = context.params;
  if (keptDiskId) await dropInstant(context, diskId(keptDiskId));
}

/** Of the volumes of a server that it is an image of. Volumes that were made from them stay. */
async function dropSnapshots(context: Context, scope?: StepScope): Promise<void> {
  for (const { id } of await snapshotsOfImage(context.db, context.params.imageId)) await dropSnapshot(context, id, { signal: scope?.signal });
}

async function purgeCache(context: Context): Promise<void> {
  for (const entry of await cacheEntriesOfImage(context.db, context.params.imageId)) await dropEntry(context, entry);
}

/** An entry that is being filled is waited for: others may need it for what they began before the image was deleted. */
async function dropEntry(context: Context, { image_id, pool, disk_id, state, filled_by }: CacheEntryTable): Promise<void> {
  if (state === "filling") await context.runner.run(operationId(filled_by));
  await releaseDisk(context, diskId(disk_id));
  await context.db.transaction().execute((trx) => removeCacheEntry(trx, image_id, pool as PoolName));
}

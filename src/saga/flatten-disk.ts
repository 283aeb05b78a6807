import type { Database } from "#/db/database.ts";
import { depthOf, findDisk, setDiskParent } from "#/db/disks.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { refuseWhileOpen } from "#/saga/open-in-guest.ts";
import { leaveAncestors } from "#/saga/release-disk.ts";

export interface FlattenDisk {
  readonly diskId: string;
}

/** Makes a disk independent of those it reads through. It never changes content, so that there is nothing to undo. */
export const flattenDisk: Saga<SagaContext<FlattenDisk>> = {
  name: "flatten-disk",
  steps: [{ name: "flatten", run: flatten }],
};

async function flatten(context: SagaContext<FlattenDisk>, { signal, progress }: StepScope): Promise<void> {
  const { db, pools, locks, params } = context;
  const id = diskId(params.diskId);
  await using _ = await locks.take(id);
  const disk = await findDisk(db, id);
  if (disk?.state !== "ready" || !disk.parent) return;
  await refuseWhileOpen(context, disk);
  await pools.get(disk.pool).flatten(disk, { signal, onProgress: progress });
  await leaveAncestors(context, id, (trx) => setDiskParent(trx, id, undefined));
}

/** Begins to flatten the disk in the background where it is deeper than its pool likes: the user does not wait for it. */
export async function flattenBeyondLimit(context: SagaContext<object>, id: DiskId): Promise<void> {
  const { db, pools } = context;
  const disk = await findDisk(db, id);
  if (!disk?.parent || (await depthOf(db, id)) <= pools.get(disk.pool).limits.cloneDepthMax) return;
  await flattenInBackground(context, id);
}

/** Begins to make the disk independent, if it is not: it can be used meanwhile. */
export async function flattenInBackground(context: SagaContext<object>, id: DiskId): Promise<void> {
  for (const begun of await context.db.transaction().execute((trx) => beginFlatten(context, trx, id))) void context.runner.run(begun);
}

/** The same, in the transaction that shows the disk to its user; run the answer once that is committed. */
export async function beginFlatten({ runner, requestId }: Pick<SagaContext<object>, "runner" | "requestId">, trx: Database, id: DiskId): Promise<OperationId[]> {
  if (!(await findDisk(trx, id))?.parent) return [];
  return [await runner.begin(trx, flattenDisk, { diskId: id }, { projectId: null, userId: null, requestId, subject: { kind: "disk", id } })];
}

import { findDisk, hasChildren, setDiskHolder } from "#/db/disks.ts";
import type { Database } from "#/db/database.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import { releaseAncestor } from "#/saga/release-disk.ts";

export interface DropDisk {
  readonly diskId: string;
}

type Context = SagaContext<DropDisk>;

/** Removes a disk whose record has another one now. There is no way back: what fails is tried again until it works. */
export const dropDisk: Saga<Context> = {
  name: "drop-disk",
  steps: [{ name: "drop", run: drop, undo: drop }],
};

function drop(context: Context): Promise<void> {
  return releaseAncestor(context, diskId(context.params.diskId));
}

/** Takes the disk from its record, in the transaction that gives the record another; run the answer once that is committed. */
export async function beginDrop({ runner, requestId }: Pick<SagaContext<object>, "runner" | "requestId">, trx: Database, id: DiskId): Promise<OperationId> {
  await setDiskHolder(trx, id, { kind: "ancestor", id });
  return runner.begin(trx, dropDisk, { diskId: id }, { projectId: null, userId: null, requestId, subject: { kind: "disk", id } });
}

/** The same for what the record no longer reads through: nothing, where that has a record of its own or others read through it. */
export async function beginDropUnread(context: Pick<SagaContext<object>, "runner" | "requestId">, trx: Database, id: DiskId): Promise<OperationId[]> {
  const disk = await findDisk(trx, id);
  return disk?.holder.kind === "ancestor" && !(await hasChildren(trx, id)) ? [await beginDrop(context, trx, id)] : [];
}

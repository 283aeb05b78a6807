import { addQuotaUsage } from "#/db/quota-usage.ts";
import { findSnapshot, removeSnapshot, updateSnapshot } from "#/db/snapshots.ts";
import { giveBack, snapshotQuota } from "#/domain/quota.ts";
import type { SagaContext, SagaServices } from "#/saga/context.ts";
import { endOthers } from "#/saga/end-others.ts";
import type { Failure, Saga } from "#/saga/engine/saga.ts";
import { releaseDisksOf } from "#/saga/release-disk.ts";
import { tellUser } from "#/saga/tell-user.ts";
import type { WorkOptions } from "#/storage/driver.ts";

export interface DeleteSnapshot {
  readonly snapshotId: string;
}

type Context = SagaContext<DeleteSnapshot>;

/** Deletes only go forward: what fails leaves the record `error_deleting`, to be deleted again. */
export const deleteSnapshot: Saga<Context> = {
  name: "delete-snapshot",
  steps: [
    {
      name: "end others",
      run: (context) => endOthers(context, context.params.snapshotId),
      undo: markFailed,
    },
    {
      name: "delete",
      run: (context, { signal, progress }) => dropSnapshot(context, context.params.snapshotId, { signal, onProgress: progress }),
    },
  ],
};

/** Removes a snapshot's bytes (or what they are held by), its record, and what it took of the quota. Repeatable. */
export async function dropSnapshot(services: SagaServices, snapshotId: string, options?: WorkOptions): Promise<void> {
  const { db } = services;
  const snapshot = await findSnapshot(db, snapshotId);
  if (!snapshot) return;
  await updateSnapshot(db, snapshotId, { disk_id: null });
  await releaseDisksOf(services, { kind: "snapshot", id: snapshotId }, options);
  await db.transaction().execute(async (trx) => {
    if (!(await removeSnapshot(trx, snapshotId))) return;
    const type = await volumeTypeOf(trx, snapshot.volume_id);
    await addQuotaUsage(trx, snapshot.project_id, giveBack(snapshotQuota(snapshot.size_bytes, type)));
  });
}

/** The name of a volume's type: quotas are counted by it. */
export async function volumeTypeOf(db: SagaServices["db"], volumeId: string): Promise<string> {
  const { name } = await db
    .selectFrom("volume")
    .innerJoin("volume_type", "volume_type.id", "volume.volume_type_id")
    .select("volume_type.name")
    .where("volume.id", "=", volumeId)
    .executeTakeFirstOrThrow();
  return name;
}

async function markFailed(context: Context, because: Failure): Promise<void> {
  const { db, clock, params } = context;
  await db.transaction().execute(async (trx) => {
    const snapshot = await findSnapshot(trx, params.snapshotId);
    if (!snapshot) return;
    await updateSnapshot(trx, params.snapshotId, { status: "error_deleting", updated_at: clock.nowMs() });
    await tellUser(trx, context, { kind: "snapshot", id: snapshot.id, projectId: snapshot.project_id }, "SNAPSHOT_DELETE", because);
  });
}

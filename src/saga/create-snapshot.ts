import { findSnapshot, updateSnapshot } from "#/db/snapshots.ts";
import { findVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga } from "#/saga/engine/saga.ts";
import { flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { tellUser } from "#/saga/tell-user.ts";

export interface CreateSnapshot {
  readonly snapshotId: string;
}

type Context = SagaContext<CreateSnapshot>;

/** Freezes a volume's content. The record is there already, `creating`; it ends `available`, or `error` with a message. */
export const createSnapshot: Saga<Context> = {
  name: "create-snapshot",
  steps: noWayBackOnce(isAvailable, [
    {
      name: "record",
      run: async (context) => void (await volumeDisk(context)),
      undo: markSnapshotFailed,
    },
    {
      name: "freeze",
      run: async (context) => {
        const id = diskId(context.params.snapshotId);
        await freezeDisk(context, await volumeDisk(context), id, { kind: "snapshot", id: context.params.snapshotId });
      },
      undo: async (context) => {
        const id = diskId(context.params.snapshotId);
        await unfreezeDisk(context, await volumeDisk(context).catch(() => id), id);
      },
    },
    {
      name: "publish",
      run: publish,
    },
  ]),
};

async function volumeDisk({ db, params }: Context): Promise<DiskId> {
  const snapshot = await findSnapshot(db, params.snapshotId);
  const volume = snapshot && (await findVolume(db, snapshot.volume_id));
  if (!volume?.disk_id) throw new AppError("gone", "The volume was deleted before its snapshot was taken.");
  return diskId(volume.disk_id);
}

/** Its user may have made volumes of it. */
async function isAvailable({ db, params }: Context): Promise<boolean> {
  return typeof (await findSnapshot(db, params.snapshotId))?.disk_id === "string";
}

async function publish(context: Context): Promise<void> {
  const { db, clock, log, params } = context;
  if (!(await isAvailable(context))) await updateSnapshot(db, params.snapshotId, { status: "available", disk_id: params.snapshotId, updated_at: clock.nowMs() });
  await volumeDisk(context)
    .then((id) => flattenBeyondLimit(context, id))
    .catch((err: unknown) => log.warn({ snapshot: params.snapshotId, err }, "the volume reads through more disks than its pool likes"));
}

export async function markSnapshotFailed(context: Context, because: Failure): Promise<void> {
  const { db, clock, params } = context;
  await db.transaction().execute(async (trx) => {
    const snapshot = await findSnapshot(trx, params.snapshotId);
    if (!snapshot) return;
    await updateSnapshot(trx, params.snapshotId, { status: "error", disk_id: null, updated_at: clock.nowMs() });
    await tellUser(trx, context, { kind: "snapshot", id: snapshot.id, projectId: snapshot.project_id }, "SNAPSHOT_CREATE", because);
  });
}

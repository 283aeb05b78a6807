import { addQuotaUsage } from "#/db/quota-usage.ts";
import { findVolume, removeVolume, updateVolume } from "#/db/volumes.ts";
import { giveBack, volumeQuota } from "#/domain/quota.ts";
import type { SagaContext } from "#/saga/context.ts";
import { dropSnapshot, volumeTypeOf } from "#/saga/delete-snapshot.ts";
import { endOthers } from "#/saga/end-others.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { releaseDisksOf } from "#/saga/release-disk.ts";

export interface DeleteVolume {
  readonly volumeId: string;
  /** Its snapshots go with it. */
  readonly cascade: boolean;
}

type Context = SagaContext<DeleteVolume>;

/** Deletes only go forward: what fails leaves the record `error_deleting`, to be deleted again. */
export const deleteVolume: Saga<Context> = {
  name: "delete-volume",
  steps: [
    {
      name: "end others",
      run: (context) => endOthers(context, context.params.volumeId),
      undo: ({ db, clock, params }) => updateVolume(db, params.volumeId, { status: "error_deleting", updated_at: clock.nowMs() }),
    },
    {
      name: "delete snapshots",
      run: dropSnapshots,
    },
    {
      name: "delete",
      run: dropVolume,
    },
  ],
};

async function dropSnapshots(context: Context, { signal }: StepScope): Promise<void> {
  const { db, params } = context;
  if (!params.cascade) return;
  const snapshots = await db.selectFrom("snapshot").select("id").where("volume_id", "=", params.volumeId).execute();
  for (const { id } of snapshots) {
    await endOthers(context, id);
    await dropSnapshot(context, id, { signal });
  }
}

async function dropVolume(context: Context, { signal, progress }: StepScope): Promise<void> {
  const { db, params } = context;
  const volume = await findVolume(db, params.volumeId);
  if (!volume) return;
  await updateVolume(db, volume.id, { disk_id: null });
  await releaseDisksOf(context, { kind: "volume", id: volume.id }, { signal, onProgress: progress });
  await db.transaction().execute(async (trx) => {
    const type = await volumeTypeOf(trx, volume.id);
    if (await removeVolume(trx, volume.id)) await addQuotaUsage(trx, volume.project_id, giveBack(volumeQuota(volume.size_bytes, type)));
  });
}

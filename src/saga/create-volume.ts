import { findDisk } from "#/db/disks.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { flattenBeyondLimit, flattenInBackground } from "#/saga/flatten-disk.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type Materialisation, planOf, sourceDisk } from "#/saga/materialise.ts";
import { tellUser } from "#/saga/tell-user.ts";

export interface CreateVolume {
  readonly volumeId: string;
}

type Context = SagaContext<CreateVolume>;

/**
 * Materialises a volume as its plan says. The record is there already, `creating`; it ends `available`, or `error` with
 * a message for its user and no bytes.
 */
export const createVolume: Saga<Context> = {
  name: "create-volume",
  steps: [
    {
      name: "record",
      run: async ({ db, params }) => assertCreating(await findVolume(db, params.volumeId)),
      undo: markFailed,
    },
    {
      name: "freeze",
      run: freezeLiveSource,
      undo: unfreezeLiveSource,
    },
    {
      name: "materialise",
      run: materialise,
      undo: (context) => discardTarget(context, targetOf(context)),
    },
    {
      name: "publish",
      run: publish,
      undo: ({ db, params }) => updateVolume(db, params.volumeId, { disk_id: null }),
    },
  ],
};

async function materialise(context: Context, scope: StepScope): Promise<void> {
  const plan = planOf(context);
  const source = async () => (await frozenSource(context)) ?? (await sourceDisk(context, plan));
  await makeDisk(context, { plan, target: targetOf(context), source }, scope);
}

/** A clone that reads through its parent needs one that never changes again: a volume's disk is frozen first. */
async function freezeLiveSource(context: Context): Promise<void> {
  if (!needsFreeze(context)) return;
  const source = await sourceDisk(context, planOf(context));
  if (!source) return;
  await freezeDisk(context, source, frozenId(context), { kind: "ancestor", id: frozenId(context) });
}

async function unfreezeLiveSource(context: Context): Promise<void> {
  if (!needsFreeze(context)) return;
  const source = await sourceDisk(context, planOf(context)).catch(() => undefined);
  await unfreezeDisk(context, source ?? frozenId(context), frozenId(context));
}

function needsFreeze(context: Context): boolean {
  const { source, strategy, target } = planOf(context);
  const { can } = context.pools.get(target.pool);
  return source.kind === "volume" && strategy === "clone" && can.clone === "dependent" && !can.snapshotReadsSource;
}

async function frozenSource(context: Context): Promise<DiskId | undefined> {
  return needsFreeze(context) ? (await findDisk(context.db, frozenId(context)))?.id : undefined;
}

async function publish(context: Context): Promise<void> {
  const { db, clock, params } = context;
  const target = targetOf(context);
  await db.transaction().execute(async (trx) => {
    const volume = await findVolume(trx, params.volumeId);
    if (volume?.status === "available" && volume.disk_id === target.id) return;
    assertCreating(volume);
    await updateVolume(trx, params.volumeId, { status: "available", disk_id: target.id, updated_at: clock.nowMs() });
  });
  await (planOf(context).flattenAfter ? flattenInBackground : flattenBeyondLimit)(context, target.id);
  if (needsFreeze(context)) await flattenBeyondLimit(context, (await sourceDisk(context, planOf(context))) ?? target.id);
}

async function markFailed(context: Context, because: Failure): Promise<void> {
  const { db, clock, params } = context;
  const action = planOf(context).source.kind === "image" ? "COPY_IMAGE_TO_VOLUME" : "CREATE_VOLUME_FROM_BACKEND";
  await db.transaction().execute(async (trx) => {
    const volume = await findVolume(trx, params.volumeId);
    if (!volume || !["creating", "available"].includes(volume.status)) return;
    await updateVolume(trx, params.volumeId, { status: "error", disk_id: null, updated_at: clock.nowMs() });
    await tellUser(trx, context, { kind: "volume", id: volume.id, projectId: volume.project_id }, action, because);
  });
}

function targetOf(context: Context): Materialisation["target"] {
  const { volumeId } = context.params;
  const { pool, virtualSizeBytes } = planOf(context).target;
  return { id: diskId(volumeId), pool, format: "raw", virtualSizeBytes, holder: { kind: "volume", id: volumeId } };
}

/** The frozen disk takes the operation's id: a repeat finds it again. */
function frozenId({ operationId }: Context): DiskId {
  return diskId(operationId);
}

function assertCreating(volume: { status: string } | undefined): void {
  if (!volume) throw new AppError("gone", "The volume was deleted while it was being created.");
  if (volume.status !== "creating") throw new AppError("conflict", `The volume became "${volume.status}" while it was being created.`);
}

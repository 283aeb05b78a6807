import { findDisk, getDisk } from "#/db/disks.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { beginFlatten, flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type Materialisation, planOf, sourceDisk } from "#/saga/materialise.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { refuseWhileGuestRuns } from "#/saga/open-in-guest.ts";
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
  steps: noWayBackOnce(isAvailable, [
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
      name: "unfreeze",
      run: async (context) => (movesBytes(context) ? unfreezeLiveSource(context) : undefined),
    },
    {
      name: "publish",
      run: publish,
    },
  ]),
};

async function materialise(context: Context, scope: StepScope): Promise<void> {
  const plan = planOf(context);
  const source = async () => (await frozenSource(context)) ?? (await sourceDisk(context, plan));
  await makeDisk(context, { plan, target: targetOf(context), source }, scope);
}

/** What is read for a while is read as it was at one instant: its guest may write to it, or another one get it meanwhile. And a clone that reads through its parent needs one that never changes again. */
async function freezeLiveSource(context: Context): Promise<void> {
  const source = isOfVolume(context) ? await sourceDisk(context, planOf(context)) : undefined;
  if (!source) return;
  if (needsFreeze(context)) await freezeDisk(context, source, frozenId(context), { kind: "ancestor", id: frozenId(context) });
  else if (movesBytes(context)) await refuseWhileGuestRuns(context, await getDisk(context.db, source));
}

async function unfreezeLiveSource(context: Context): Promise<void> {
  if (!needsFreeze(context)) return;
  const source = await sourceDisk(context, planOf(context)).catch(() => undefined);
  await unfreezeDisk(context, source ?? frozenId(context), frozenId(context));
}

function needsFreeze(context: Context): boolean {
  const { source, target } = planOf(context);
  if (!isOfVolume(context)) return false;
  if (movesBytes(context)) return context.pools.get(source.pool ?? target.pool).can.snapshot;
  const { can } = context.pools.get(target.pool);
  return can.clone === "dependent" && !can.snapshotReadsSource;
}

function isOfVolume(context: Context): boolean {
  return planOf(context).source.kind === "volume";
}

function movesBytes(context: Context): boolean {
  return planOf(context).strategy !== "clone";
}

/** What was frozen is frozen anew where it is gone: whoever made the source independent meanwhile found nothing yet that reads through it. */
async function frozenSource(context: Context): Promise<DiskId | undefined> {
  if (!needsFreeze(context)) return undefined;
  if (!(await findDisk(context.db, frozenId(context)))) await freezeLiveSource(context);
  return frozenId(context);
}

/** Its user may have written to it. */
async function isAvailable({ db, params }: Context): Promise<boolean> {
  return typeof (await findVolume(db, params.volumeId))?.disk_id === "string";
}

async function publish(context: Context): Promise<void> {
  const { db, log, params, runner } = context;
  const begun = (await isAvailable(context)) ? [] : await db.transaction().execute((trx) => show({ ...context, db: trx }));
  for (const operation of begun) void runner.run(operation);
  await keepShallow(context).catch((err: unknown) => log.warn({ volume: params.volumeId, err }, "a disk reads through more others than its pool likes"));
}

async function show(context: Context): Promise<OperationId[]> {
  const { db, clock, params } = context;
  const { id } = targetOf(context);
  assertCreating(await findVolume(db, params.volumeId));
  await updateVolume(db, params.volumeId, { status: "available", disk_id: id, updated_at: clock.nowMs() });
  return planOf(context).flattenAfter ? beginFlatten(context, db, id) : [];
}

async function keepShallow(context: Context): Promise<void> {
  const { id } = targetOf(context);
  if (!planOf(context).flattenAfter) await flattenBeyondLimit(context, id);
  if (needsFreeze(context)) await flattenBeyondLimit(context, (await sourceDisk(context, planOf(context))) ?? id);
}

async function markFailed(context: Context, because: Failure): Promise<void> {
  const { db, clock, params } = context;
  const action = planOf(context).source.kind === "image" ? "COPY_IMAGE_TO_VOLUME" : "CREATE_VOLUME_FROM_BACKEND";
  await db.transaction().execute(async (trx) => {
    const volume = await findVolume(trx, params.volumeId);
    if (volume?.status !== "creating") return;
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

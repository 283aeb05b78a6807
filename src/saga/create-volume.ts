import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, type OperationId } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { beginFlatten, flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { keepSourceShallow, sourceToRead, unfreezeSource } from "#/saga/frozen-source.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type Materialisation, planOf } from "#/saga/materialise.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
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
      run: async (context) => void (await sourceToRead(context, planOf(context).strategy, BY_ANYBODY)),
      undo: unfreezeSource,
    },
    {
      name: "materialise",
      run: materialise,
      undo: (context) => discardTarget(context, targetOf(context)),
    },
    {
      name: "publish",
      run: publish,
    },
  ]),
};

/** The source goes on while it is read: its guest may write to it, or another one get it. */
const BY_ANYBODY = { mayBeWritten: true };

async function materialise(context: Context, scope: StepScope): Promise<void> {
  const source = (strategy: Plan["strategy"]) => sourceToRead(context, strategy, BY_ANYBODY);
  await makeDisk(context, { plan: planOf(context), target: targetOf(context), source }, scope);
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
  await keepSourceShallow(context);
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

function assertCreating(volume: { status: string } | undefined): void {
  if (!volume) throw new AppError("gone", "The volume was deleted while it was being created.");
  if (volume.status !== "creating") throw new AppError("conflict", `The volume became "${volume.status}" while it was being created.`);
}

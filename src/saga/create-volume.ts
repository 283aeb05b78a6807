import { findDisk } from "#/db/disks.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import { cachedImage } from "#/saga/cached-image.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { discardTarget, fillTarget, type Materialisation, planOf, recordTarget, sourceDisk } from "#/saga/materialise.ts";
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
  const target = targetOf(context);
  if ((await findDisk(context.db, target.id))?.state === "ready") return;
  const way = await chooseWay(context, scope);
  const materialisation: Materialisation = { ...way, target };
  await recordTarget(context, materialisation);
  const actual = await fillTarget(context, materialisation, scope);
  const viaCache = plan.fillsCache && way.strategy === "clone_cached";
  await context.report(viaCache ? { strategy: plan.strategy } : { ...actual, strategy: way.strategy });
}

/** The plan's way, with the disk it starts from. A cached clone first sees to it that there is a cached disk. */
async function chooseWay(context: Context, scope: StepScope): Promise<Pick<Materialisation, "strategy" | "source">> {
  const plan = planOf(context);
  if (plan.strategy === "blank" || plan.strategy === "adopt") return { strategy: "blank", source: undefined };
  const source = (await frozenSource(context)) ?? (await sourceDisk(context, plan));
  if (source && (plan.fillsCache || plan.strategy === "clone_cached")) {
    const cached = await cachedImage(context, plan, source, scope);
    if (cached) return { strategy: "clone_cached", source: cached };
    return { strategy: "stream_convert", source };
  }
  return { strategy: plan.strategy, source };
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
  return source.kind === "volume" && strategy === "clone" && context.pools.get(target.pool).can.clone === "dependent";
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
  await flattenBeyondLimit(context, target.id);
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

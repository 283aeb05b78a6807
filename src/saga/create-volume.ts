import { findDisk } from "#/db/disks.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import { dropCacheEntry } from "#/saga/cache-room.ts";
import { cachedImage, conversionOf } from "#/saga/cached-image.ts";
import type { Actual, SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { takeFirstThatWorks, type Way, waysOf } from "#/saga/fall-back.ts";
import { flattenBeyondLimit, flattenInBackground } from "#/saga/flatten-disk.ts";
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
  const target = targetOf(context);
  if ((await findDisk(context.db, target.id))?.state === "ready") return;
  await takeFirstThatWorks(context, waysOf(planOf(context)), {
    signal: scope.signal,
    take: (way) => takeWay(context, way, scope),
    clear: () => discardTarget(context, target),
  });
}

async function takeWay(context: Context, way: Way, scope: StepScope): Promise<void> {
  const source = way.strategy === "blank" ? undefined : ((await frozenSource(context)) ?? (await sourceDisk(context, planOf(context))));
  if (source && way.viaCache) return throughCache(context, way, source, scope);
  await makeTarget(context, { strategy: way.strategy, source }, scope);
}

/** A clone of the image's cached disk, which is filled first where it is missing. */
async function throughCache(context: Context, way: Way, source: DiskId, scope: StepScope): Promise<void> {
  const plan = planOf(context);
  for (let attempt = 1; ; attempt++) {
    const cached = await cachedImage(context, plan, source, scope);
    if (!cached) return makeTarget(context, { strategy: conversionOf(plan), source }, scope);
    try {
      const moved = await makeBytes(context, { strategy: "clone_cached", source: cached.id }, scope);
      // The bytes that a fill moved are on record already: the filler reported them.
      const isFilled = cached.isFilled || way.strategy !== "clone_cached";
      return await context.report(isFilled ? { strategy: conversionOf(plan) } : { ...moved, strategy: "clone_cached" });
    } catch (error) {
      if (attempt > 1 || !(error instanceof AppError) || error.code !== "clone_limit") throw error;
      // Cinder's rule (cinder/volume/flows/manager/create_volume.py, SnapshotLimitReached): a new entry, and once more.
      await discardTarget(context, targetOf(context));
      await dropCacheEntry(context, plan.source.id ?? "", plan.target.pool);
    }
  }
}

async function makeTarget(context: Context, way: Pick<Materialisation, "strategy" | "source">, scope: StepScope): Promise<void> {
  await context.report({ ...(await makeBytes(context, way, scope)), strategy: way.strategy });
}

async function makeBytes(context: Context, way: Pick<Materialisation, "strategy" | "source">, scope: StepScope): Promise<Actual> {
  const materialisation: Materialisation = { ...way, target: targetOf(context) };
  await recordTarget(context, materialisation);
  return fillTarget(context, materialisation, scope);
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

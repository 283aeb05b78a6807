import { findDisk } from "#/db/disks.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import { dropCacheEntry } from "#/saga/cache-room.ts";
import { cachedImage, conversionOf } from "#/saga/cached-image.ts";
import type { Actual, SagaContext } from "#/saga/context.ts";
import type { StepScope } from "#/saga/engine/saga.ts";
import { takeFirstThatWorks, type Way, waysOf } from "#/saga/fall-back.ts";
import { discardTarget, fillTarget, type Materialisation, type NewDiskRecord, recordTarget } from "#/saga/materialise.ts";

/** A disk as its plan makes it: through the pool's cache where the plan says so, and by the next way where one breaks. */
export interface PlannedDisk {
  readonly plan: Plan;
  readonly target: NewDiskRecord;
  /** Undefined only for a blank disk. Asked for when it is needed: the source may have been deleted meanwhile. */
  source(strategy: Plan["strategy"]): Promise<DiskId | undefined>;
}

/** Makes the disk, and reports how. Repeatable: a target that is whole is left as it is. */
export async function makeDisk(context: SagaContext<object>, disk: PlannedDisk, scope: StepScope): Promise<void> {
  if ((await findDisk(context.db, disk.target.id))?.state === "ready") return;
  await takeFirstThatWorks(context, waysOf(disk.plan), {
    signal: scope.signal,
    take: (way) => takeWay(context, disk, way, scope),
    clear: () => discardTarget(context, disk.target),
  });
}

async function takeWay(context: SagaContext<object>, disk: PlannedDisk, way: Way, scope: StepScope): Promise<void> {
  const source = way.strategy === "blank" ? undefined : await disk.source(way.strategy);
  if (source && way.viaCache) return throughCache(context, disk, { ...way, source }, scope);
  await makeTarget(context, disk, { strategy: way.strategy, source }, scope);
}

/** A clone of the image's cached disk, which is filled first where it is missing. */
async function throughCache(context: SagaContext<object>, disk: PlannedDisk, way: Way & { source: DiskId }, scope: StepScope): Promise<void> {
  const { plan, target } = disk;
  for (let attempt = 1; ; attempt++) {
    const cached = await cachedImage(context, plan, way.source, scope);
    if (!cached) return makeTarget(context, disk, { strategy: conversionOf(plan), source: way.source }, scope);
    try {
      const moved = await makeBytes(context, disk, { strategy: "clone_cached", source: cached.id }, scope);
      // The bytes that a fill moved are on record already: the filler reported them.
      const isFilled = cached.isFilled || way.strategy !== "clone_cached";
      return await context.report(isFilled ? { strategy: conversionOf(plan) } : { ...moved, strategy: "clone_cached" });
    } catch (error) {
      if (attempt > 1 || !(error instanceof AppError) || error.code !== "clone_limit") throw error;
      // Cinder's rule (cinder/volume/flows/manager/create_volume.py, SnapshotLimitReached): a new entry, and once more.
      await discardTarget(context, target);
      await dropCacheEntry(context, plan.source.id ?? "", plan.target.pool);
    }
  }
}

async function makeTarget(context: SagaContext<object>, disk: PlannedDisk, way: Pick<Materialisation, "strategy" | "source">, scope: StepScope): Promise<void> {
  await context.report({ ...(await makeBytes(context, disk, way, scope)), strategy: way.strategy });
}

async function makeBytes(context: SagaContext<object>, { target }: PlannedDisk, way: Pick<Materialisation, "strategy" | "source">, scope: StepScope): Promise<Actual> {
  const materialisation: Materialisation = { ...way, target };
  await recordTarget(context, materialisation);
  return fillTarget(context, materialisation, scope);
}

import { findDisk, getDisk } from "#/db/disks.ts";
import { isReadFrozen } from "#/domain/freeze-before.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";
import { flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { planOf, sourceDisk } from "#/saga/materialise.ts";
import { refuseWhileGuestRuns } from "#/saga/open-in-guest.ts";

/**
 * What a way reads of the plan's source. Of a volume that is its disk as it was at one instant, frozen for the operation, where the way needs that; it is frozen anew where it is gone: whoever made the volume
 * independent meanwhile found nothing yet that reads through it. `mayBeWritten`: a guest may write to the volume while it is read; `conflict` where one could, and the pool cannot freeze.
 */
export async function sourceToRead(context: SagaContext<object>, strategy: Plan["strategy"], { mayBeWritten }: { readonly mayBeWritten: boolean }): Promise<DiskId | undefined> {
  const plan = planOf(context);
  const source = await sourceDisk(context, plan);
  if (!source || plan.source.kind !== "volume") return source;
  const live = await getDisk(context.db, source);
  const { can } = context.pools.get(live.pool);
  if (isReadFrozen(strategy, { can, mayBeWritten }, context.pools.get(plan.target.pool))) return freezeOnce(context, source);
  if (mayBeWritten && strategy !== "clone") await refuseWhileGuestRuns(context, live);
  return source;
}

/** Nothing is read of the source any more. Repeatable. */
export async function unfreezeSource(context: SagaContext<object>): Promise<void> {
  const frozen = frozenId(context);
  const source = await sourceDisk(context, planOf(context)).catch(() => undefined);
  await unfreezeDisk(context, source ?? frozen, frozen);
}

/** The volume may stand on what was frozen of it by now, and be deeper than its pool likes. */
export async function keepSourceShallow(context: SagaContext<object>): Promise<void> {
  const plan = planOf(context);
  const source = plan.source.kind === "volume" ? await sourceDisk(context, plan) : undefined;
  if (source) await flattenBeyondLimit(context, source);
}

async function freezeOnce(context: SagaContext<object>, source: DiskId): Promise<DiskId> {
  const id = frozenId(context);
  const frozen = await findDisk(context.db, id);
  if (!frozen || frozen.state === "filling") await freezeDisk(context, source, id, { kind: "ancestor", id });
  return id;
}

/** The operation's own id: a repeat finds it again. */
function frozenId({ operationId }: SagaContext<object>): DiskId {
  return diskId(operationId);
}

import { disksByLikeness, savePool } from "#/db/pools.ts";
import { poolName } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import type { Deduped } from "#/storage/driver.ts";

export interface DedupPool {
  readonly pool: string;
}

/**
 * Shares what the disks of a pool hold alike, and measures the pool's space afterwards. It never changes content, so that there is
 * nothing to undo: what was shared when it is cancelled stays so. Begun anew after a crash, it skips what is shared already.
 */
export const dedupPool: Saga<SagaContext<DedupPool>> = {
  name: "dedup-pool",
  steps: [
    { name: "share", run: share },
    { name: "measure", run: measure },
  ],
};

/** The facts go to the database at most this often. */
const REPORT_MS = 2 * SECOND_MS;

async function share(context: SagaContext<DedupPool>, { signal, progress }: StepScope): Promise<void> {
  const { db, pools, params, clock, report } = context;
  const sum = { bytesRead: context.actual.bytesRead ?? 0, bytesShared: context.actual.bytesShared ?? 0 };
  let reportedAtMs = clock.nowMs();
  const onDone = ({ bytesRead, bytesShared }: Deduped) => {
    sum.bytesRead += bytesRead;
    sum.bytesShared += bytesShared;
    if (clock.nowMs() - reportedAtMs < REPORT_MS) return;
    reportedAtMs = clock.nowMs();
    report({ ...sum }).catch((err) => context.log.warn({ err }, "facts not written"));
  };
  const order = await disksByLikeness(db, params.pool);
  try {
    await pools.get(poolName(params.pool)).dedup({ order, signal, onProgress: progress, onDone });
  } finally {
    await report({ ...sum });
  }
}

async function measure({ db, pools, params, clock }: SagaContext<DedupPool>, { signal, progress }: StepScope): Promise<void> {
  const space = await pools.get(poolName(params.pool)).measureSpace({ signal, onProgress: progress });
  const measuredAtMs = clock.nowMs();
  await savePool(db, params.pool, { space: JSON.stringify({ ...space, measuredAtMs }) }, measuredAtMs);
}

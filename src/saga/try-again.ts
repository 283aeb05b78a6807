import { setTimeout as sleep } from "node:timers/promises";
import { findOperation, updateOperation } from "#/db/operations.ts";
import { asAppError } from "#/domain/errors.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { awaitNeeds } from "#/saga/await-needs.ts";
import type { SagaContext } from "#/saga/context.ts";

/** How long is waited after each failure: what has failed for some 31 hours is not tried again. */
const PAUSES_MS = [SECOND_MS, 10 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS];
/** How long a pool may be away each time. It is no failure of the work. */
const AWAY_MS_MAX = 7 * DAY_MS;

interface Trying {
  readonly signal: AbortSignal;
  readonly pausesMs?: readonly number[];
}

/**
 * Does what nobody waits for, and nobody would begin anew: what fails is tried again, later each time, and the operation says when and why. In the end the last failure is the operation's. A process that starts
 * anew begins at once, and with all tries.
 */
export async function tryAgain(context: SagaContext<object>, work: () => Promise<void>, { signal, pausesMs = PAUSES_MS }: Trying): Promise<void> {
  for (const [index, pauseMs] of pausesMs.entries()) {
    await awaitPools(context, signal);
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw error;
      await sayLater(context, error, { triedCount: index + 1, pauseMs });
    }
    await sleep(pauseMs, undefined, { signal });
  }
  await awaitPools(context, signal);
  await work();
}

/** What an earlier failure said is over. */
async function awaitPools(context: SagaContext<object>, signal: AbortSignal): Promise<void> {
  const { db, operationId: id } = context;
  await updateOperation(db, id, { error_code: null, error_message: null });
  const operation = await findOperation(db, id);
  if (operation) await awaitNeeds(context, operation, { limitMs: AWAY_MS_MAX, signal });
}

async function sayLater({ db, clock, log, operationId: id }: SagaContext<object>, error: unknown, { triedCount, pauseMs }: { readonly triedCount: number; readonly pauseMs: number }): Promise<void> {
  const code = asAppError(error)?.code ?? "unexpected";
  const because = error instanceof Error ? error.message : String(error);
  const next = new Date(clock.nowMs() + pauseMs).toISOString();
  log.warn({ operation: id, err: error, triedCount, next }, "it failed, and is tried again");
  await updateOperation(db, id, { error_code: code, error_message: `It has failed ${triedCount === 1 ? "once" : `${triedCount} times`}, and is tried again at ${next}: ${because}`, updated_at: clock.nowMs() });
}

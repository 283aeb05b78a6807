import { setTimeout as sleep } from "node:timers/promises";
import { updateOperation } from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import { operationId } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";
import { poolsOf } from "#/saga/operation-pools.ts";

const LOOK_MS = SECOND_MS / 4;

/**
 * Waits until the pools of an operation are up: one that was under way when the machine went down is taken up again before the
 * storage is back. Meanwhile it says what it waits for. Ends after `limitMs`, or at once with the signal: then what needs the pool fails.
 */
export async function awaitPools(services: SagaServices, operation: OperationTable, { limitMs, signal }: { readonly limitMs: number; readonly signal: AbortSignal }): Promise<void> {
  const { db, log } = services;
  const id = operationId(operation.id);
  const pools = await poolsOf(services, operation);
  let waitsFor: string | undefined;
  for (const endMs = performance.now() + limitMs; performance.now() < endMs && !signal.aborted; await sleep(LOOK_MS, undefined, { signal }).catch(() => {})) {
    const away = pools.find(({ down }) => down !== undefined);
    if (!away) break;
    if (waitsFor === away.name) continue;
    waitsFor = away.name;
    log.warn({ operation: id, pool: away.name, because: away.down?.reason }, "operation waits for its pool");
    await updateOperation(db, id, { error_code: "pool_unavailable", error_message: `It waits for pool "${away.name}", which is down: ${away.down?.reason}` });
  }
  if (waitsFor !== undefined) await updateOperation(db, id, { error_code: operation.error_code, error_message: operation.error_message });
}

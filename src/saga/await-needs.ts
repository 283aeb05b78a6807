import { setTimeout as sleep } from "node:timers/promises";
import { updateOperation } from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import { type AppError, asAppError } from "#/domain/errors.ts";
import { operationId } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";
import { poolsOf } from "#/saga/operation-pools.ts";
import type { Pool } from "#/storage/pool.ts";

const LOOK_MS = SECOND_MS / 4;

/**
 * Waits until the pools of an operation are up, and for one on a server the hypervisor: what was under way when the machine went down is taken up
 * again before storage and libvirtd are back. Meanwhile it says what it waits for. Ends after `limitMs`, or at once with the signal: then what needs
 * them fails.
 */
export async function awaitNeeds(services: SagaServices, operation: OperationTable, { limitMs, signal }: { readonly limitMs: number; readonly signal: AbortSignal }): Promise<void> {
  const { db, log } = services;
  const id = operationId(operation.id);
  const pools = await poolsOf(services, operation);
  let waitsFor: string | undefined;
  for (const endMs = performance.now() + limitMs; performance.now() < endMs && !signal.aborted; await sleep(LOOK_MS, undefined, { signal }).catch(() => {})) {
    const away = await whatIsAway(services, pools, operation);
    if (!away) break;
    if (waitsFor === away.what) continue;
    waitsFor = away.what;
    log.warn({ operation: id, what: away.what, because: away.because }, "operation waits for what it needs");
    await updateOperation(db, id, { error_code: away.code, error_message: `It waits for ${away.what}, which is down: ${away.because}` });
  }
  if (waitsFor !== undefined) await updateOperation(db, id, { error_code: operation.error_code, error_message: operation.error_message });
}

interface Away {
  readonly what: string;
  readonly code: AppError["code"];
  readonly because: string | undefined;
}

async function whatIsAway({ hypervisor }: SagaServices, pools: readonly Pool[], { subject_kind }: OperationTable): Promise<Away | undefined> {
  const pool = pools.find(({ down }) => down !== undefined);
  if (pool) return { what: `pool "${pool.name}"`, code: "pool_unavailable", because: pool.down?.reason };
  if (subject_kind !== "server") return undefined;
  const error = await hypervisor.facts().then(() => undefined, asAppError);
  return error?.code === "hypervisor_unavailable" ? { what: "the hypervisor", code: error.code, because: error.message } : undefined;
}

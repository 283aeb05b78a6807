import { setTimeout as delay } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";

/** How soon one looks whether a guest has shut down. */
const POLL_MS = 200;

export interface StopOptions {
  /** How long the guest may take to shut down by itself; 0 pulls the plug at once. `hypervisor.shutdownGraceMs`. */
  readonly shutdownGraceMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Stops a guest: asks it to shut down, and pulls the plug where it has not by the end of its grace, or is paused. Fine where it does not run. */
export async function stopGuest(driver: HypervisorDriver, id: string, { shutdownGraceMs, signal }: StopOptions): Promise<void> {
  const dueMs = performance.now() + shutdownGraceMs;
  let state = (await driver.stat(id, { signal }))?.state;
  if (state === "running" && shutdownGraceMs > 0) await driver.shutdown(id, { signal });
  while (state === "running" && performance.now() < dueMs) {
    await delay(POLL_MS, undefined, { signal }).catch(() => throwIfCancelled(signal));
    state = (await driver.stat(id, { signal }))?.state;
  }
  if (state === "running" || state === "paused") await driver.destroy(id, { signal });
}

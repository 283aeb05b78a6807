import { setTimeout as delay } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import type { LibvirtCalls } from "#/vm/libvirt/calls.ts";
import type { DomainRef } from "#/vm/libvirt/protocol.ts";
import { stateOf } from "#/vm/libvirt/states.ts";

/** How often one looks whether a save has ended. */
const POLL_MS = 100;
/** How long libvirt has to answer once it was told to give up. */
const GIVE_UP_MS = MINUTE_MS;

interface SaveLimits {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs: number;
}

/**
 * Saves a domain's memory and stops it (virDomainManagedSave). Libvirt would go on with a save that nobody waits for any more, and the guest would be gone behind its user's back: cancelled,
 * or late, it is told to give up, and waited for. Then the domain runs on, or is saved after all.
 */
export async function saveMemory(calls: LibvirtCalls, domain: DomainRef, { signal, timeoutMs }: SaveLimits): Promise<void> {
  throwIfCancelled(signal);
  await untilNoOther(calls, domain, { signal, timeoutMs });
  const late = AbortSignal.timeout(timeoutMs);
  const ended = new AbortController();
  const saving = calls.managedSave(domain, { timeoutMs: timeoutMs + GIVE_UP_MS }).finally(() => ended.abort());
  const givingUp = giveUp(calls, domain, { when: signal ? AbortSignal.any([signal, late]) : late, until: ended.signal });
  try {
    await saving;
  } catch (error) {
    throwIfCancelled(signal);
    throw late.aborted ? new AppError("tool_timed_out", `its memory was not saved within ${timeoutMs} ms`, { cause: error }) : error;
  } finally {
    await givingUp;
  }
}

/** Again and again: the save may be about to begin, or about to end. */
async function giveUp(calls: LibvirtCalls, domain: DomainRef, { when, until }: { readonly when: AbortSignal; readonly until: AbortSignal }): Promise<void> {
  await aborted(AbortSignal.any([when, until]));
  while (!until.aborted) {
    await calls.abortJob(domain).catch(() => {}); // There is nothing to give up yet, or no more.
    await delay(POLL_MS, undefined, { signal: until }).catch(() => {});
  }
}

/** A process that was killed has begun one: libvirt refuses a second for as long as that goes on. */
async function untilNoOther(calls: LibvirtCalls, domain: DomainRef, { signal, timeoutMs }: SaveLimits): Promise<void> {
  for (const dueMs = performance.now() + timeoutMs; await isBeingSaved(calls, domain, signal); ) {
    if (performance.now() > dueMs) throw new AppError("tool_timed_out", `a save that was begun before has not ended within ${timeoutMs} ms`);
    await delay(POLL_MS, undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
}

async function isBeingSaved(calls: LibvirtCalls, domain: DomainRef, signal: AbortSignal | undefined): Promise<boolean> {
  const { state, reason } = await calls.state(domain, { signal });
  const seen = stateOf(state, reason, false);
  return seen.state === "paused" && seen.reason === "save";
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

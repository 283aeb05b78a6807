import { findServer } from "#/db/servers.ts";
import type { ConsistencyLevel } from "#/domain/capture.ts";
import { AppError } from "#/domain/errors.ts";
import type { Captured, SagaContext } from "#/saga/context.ts";
import { thawSurely } from "#/saga/thaw-server.ts";
import type { Frozen, GuestStat } from "#/vm/driver.ts";

/** What is to hold of a guest while its disks are captured. */
export interface InstantWish {
  readonly serverId: string;
  /** Whether the guest is said to have an agent (`hw_qemu_guest_agent`). */
  readonly hasAgent: boolean;
  /** Fail rather than capture file systems that are not frozen (`os_require_quiesce`). */
  readonly requiresQuiesce: boolean;
  /** Disks that cannot be captured all in one call are so while the processors stand still; and while a guest writes a mirror need not come to its end. */
  readonly pauses: boolean;
}

/**
 * Does the work while the guest's file systems are frozen, where its agent can; else, where the wish says so, while its processors stand still. The guest goes on
 * whatever happens, and the work has `servers.freezeMsMax`. `agent_unavailable` where a freeze is required and fails; what the work throws.
 */
export async function atOneInstant(context: SagaContext<object>, wish: InstantWish, work: (signal: AbortSignal) => Promise<void>): Promise<Omit<Captured, "methods">> {
  const guest = await context.hypervisor.stat(wish.serverId);
  const isRunning = guest?.state === "running";
  const frozen = await freeze(context, wish, guest);
  if (typeof frozen !== "string") return whileFrozen(context, wish, { ...frozen, work });
  if (wish.requiresQuiesce) throw new AppError("agent_unavailable", `The file systems of server ${wish.serverId} could not be frozen, and its image says os_require_quiesce: ${frozen}`);
  const level: ConsistencyLevel = "crash";
  return { ...(isRunning && wish.pauses ? await paused(context, wish, work) : await timed(context, work)), level, because: frozen };
}

/** A guest that was left frozen, or standing still, by a process that ended in the middle goes on; where its agent is not there just then, as soon as it is. One that its user has paused stays so. */
export async function letGo(context: SagaContext<object>, serverId: string): Promise<void> {
  const { freezesGuest = false, stopsGuest = false } = context.actual.capture ?? {};
  if (!freezesGuest && !stopsGuest) return;
  const guest = await context.hypervisor.stat(serverId);
  // The server's own state does not tell whose pause it is: whoever follows guests writes down what they see.
  if (stopsGuest && guest?.state === "paused" && guest.reason === "user") await goOn(context, serverId);
  if (freezesGuest && guest && !["shutoff", "crashed"].includes(guest.state)) await thawSurely(context, serverId);
}

/** Unless its user has asked for a pause meanwhile. */
async function goOn({ db, hypervisor }: SagaContext<object>, serverId: string): Promise<void> {
  if ((await findServer(db, serverId))?.task_state !== "pausing") await hypervisor.resume(serverId);
}

/** Why it is not frozen, where it is not: then nothing stays frozen. */
async function freeze(context: SagaContext<object>, { serverId, hasAgent }: InstantWish, guest: GuestStat | undefined): Promise<Frozen | string> {
  if (guest?.state !== "running") return "the guest was paused: its agent could not freeze its file systems";
  if (!hasAgent) return "its image does not say hw_qemu_guest_agent=yes";
  if (!guest.agentConnected) return "the agent in the guest is not there";
  await note(context, { freezesGuest: true });
  try {
    return await context.hypervisor.freeze(serverId, { timeoutMs: context.limits.servers.freezeMsMax });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    await thaw(context, serverId); // A slow guest may freeze after its limit.
    return error.message;
  }
}

async function whileFrozen(context: SagaContext<object>, { serverId }: InstantWish, { sinceMs, work }: Frozen & { work: (signal: AbortSignal) => Promise<void> }) {
  let [facts, thawedMs]: [Pick<Captured, "atMs">, number] = [{}, 0];
  try {
    facts = await timed(context, work);
  } finally {
    thawedMs = await thaw(context, serverId);
  }
  return { ...facts, level: "filesystem" as const, freezeMs: Math.ceil(thawedMs - sinceMs) };
}

/** When that was; where the agent does not answer, it is on record that it is asked again. */
async function thaw(context: SagaContext<object>, serverId: string): Promise<number> {
  await thawSurely(context, serverId);
  const thawedMs = performance.now();
  await note(context, { freezesGuest: false });
  return thawedMs;
}

async function paused(context: SagaContext<object>, { serverId }: InstantWish, work: (signal: AbortSignal) => Promise<void>) {
  await note(context, { stopsGuest: true });
  const startedMs = performance.now();
  let [facts, downtimeMs]: [Pick<Captured, "atMs">, number] = [{}, 0];
  try {
    await context.hypervisor.pause(serverId);
    facts = await timed(context, work);
  } finally {
    await goOn(context, serverId);
    downtimeMs = Math.ceil(performance.now() - startedMs);
    await note(context, { stopsGuest: false });
  }
  return { ...facts, downtimeMs };
}

/** For whoever goes on after a crash. */
async function note({ actual, report }: SagaContext<object>, holding: Pick<Captured, "freezesGuest" | "stopsGuest">): Promise<void> {
  if (actual.capture) await report({ capture: { ...actual.capture, ...holding } });
}

/** The guest must not wait longer than its operator allows. */
async function timed({ clock, limits }: SagaContext<object>, work: (signal: AbortSignal) => Promise<void>): Promise<Pick<Captured, "atMs">> {
  const limitMs = limits.servers.freezeMsMax;
  const signal = AbortSignal.timeout(limitMs);
  const late = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => late.reject(new AppError("timed_out", `The disks were not captured within ${limitMs} ms (servers.freezeMsMax), and the guest could wait no longer.`)));
  late.promise.catch(() => {});
  await Promise.race([work(signal), late.promise]);
  return { atMs: clock.nowMs() };
}

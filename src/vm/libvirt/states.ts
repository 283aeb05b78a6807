import type { GuestState } from "#/vm/driver.ts";

/** The reasons of each state, in libvirt's order and words (libvirt-domain.h, virDomainState and virDomain…Reason). */
const RUNNING = ["unknown", "booted", "migrated", "restored", "from_snapshot", "unpaused", "migration_canceled", "save_canceled", "wakeup", "crashed", "postcopy", "postcopy_failed"];
const PAUSED = ["unknown", "user", "migration", "save", "dump", "io_error", "watchdog", "from_snapshot", "shutting_down", "snapshot", "crashed", "starting_up", "postcopy", "postcopy_failed", "api_error"];
const SHUTOFF = ["unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from_snapshot", "daemon"];

export interface StateAndReason {
  readonly state: GuestState;
  readonly reason: string;
}

/** What libvirt's state is to us. `isSaved`: whether there is a managed save. */
export function stateOf(state: number, reason: number, isSaved: boolean): StateAndReason {
  switch (state) {
    case 1:
    case 2: // Blocked: a Xen word for waiting.
      return { state: "running", reason: RUNNING[reason] ?? "unknown" };
    case 3:
      return { state: "paused", reason: PAUSED[reason] ?? "unknown" };
    case 4:
      return { state: "running", reason: "shutting_down" };
    case 5:
      return isSaved ? { state: "suspended", reason: "saved" } : whenOff(SHUTOFF[reason] ?? "unknown");
    case 6:
      return { state: "crashed", reason: "panicked" };
    case 7:
      return { state: "paused", reason: "pmsuspended" };
    default:
      return { state: "shutoff", reason: "unknown" };
  }
}

/** `daemon`: libvirtd came back and found no QEMU to talk to. */
function whenOff(reason: string): StateAndReason {
  return { state: reason === "crashed" || reason === "daemon" ? "crashed" : "shutoff", reason };
}

/** What a lifecycle event says of the state; undefined where that is nothing (virDomainEventType and its details). */
export function stateOfEvent(event: number, detail: number): StateAndReason | undefined {
  switch (event) {
    case 2:
      return { state: "running", reason: ["booted", "migrated", "restored", "from_snapshot", "wakeup"][detail] ?? "unknown" };
    case 3:
      return { state: "paused", reason: ["user", "migration", "io_error", "watchdog", "restored", "from_snapshot", "api_error"][detail] ?? "unknown" };
    case 4:
      return { state: "running", reason: "unpaused" };
    case 5:
      return stopped(["shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from_snapshot"][detail] ?? "unknown");
    case 8:
      return { state: "crashed", reason: "panicked" };
    default:
      return undefined;
  }
}

/** `failed`: QEMU is gone, and had not said why. */
function stopped(reason: string): StateAndReason {
  if (reason === "crashed" || reason === "failed") return { state: "crashed", reason };
  return { state: reason === "saved" ? "suspended" : "shutoff", reason };
}

/** Whether there is a QEMU: the guest runs, waits, is paused, shuts down or sleeps. */
export function isActiveState(state: number): boolean {
  return [1, 2, 3, 4, 7].includes(state);
}

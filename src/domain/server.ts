import { AppError } from "./errors.ts";
import type { Flavor } from "./flavor.ts";

/** nova/compute/vm_states.py: where a server stands when nothing is being done to it. */
export const VM_STATES = [
  "building",
  "active",
  "stopped",
  "paused",
  "suspended",
  "rescued",
  "resized",
  "shelved",
  "shelved_offloaded",
  "error",
] as const;
export type VmState = (typeof VM_STATES)[number];

/** nova/compute/task_states.py: what is being done to it; null is nothing. */
export type TaskState =
  | "scheduling"
  | "block_device_mapping"
  | "spawning"
  | "powering-off"
  | "powering-on"
  | "rebooting"
  | "rebooting_hard"
  | "pausing"
  | "unpausing"
  | "suspending"
  | "resuming"
  | "rescuing"
  | "unrescuing"
  | "resize_prep"
  | "resize_finish"
  | "resize_reverting"
  | "resize_confirming"
  | "rebuilding"
  | "rebuild_block_device_mapping"
  | "rebuild_spawning"
  | "shelving"
  | "shelving_image_pending_upload"
  | "shelving_image_uploading"
  | "shelving_offloading"
  | "unshelving"
  | "image_backup"
  | "image_snapshot_pending"
  | "image_snapshot"
  | "image_pending_upload"
  | "image_uploading"
  | "deleting";

/** nova/compute/power_state.py: what the hypervisor says. */
export const POWER_STATES = { noState: 0, running: 1, paused: 3, shutDown: 4, crashed: 6, suspended: 7 } as const;
export type PowerState = (typeof POWER_STATES)[keyof typeof POWER_STATES];

/** What is done to a server, from which states, and the task state that it has meanwhile. nova/compute/api.py `check_instance_state`. */
export const SERVER_ACTIONS = {
  "os-start": { from: ["stopped"], task: "powering-on" },
  "os-stop": { from: ["active", "error"], task: "powering-off" },
  softReboot: { from: ["active"], task: "rebooting" },
  hardReboot: { from: ["active", "stopped", "paused", "suspended", "error"], task: "rebooting_hard" },
  pause: { from: ["active"], task: "pausing" },
  unpause: { from: ["paused"], task: "unpausing" },
  suspend: { from: ["active"], task: "suspending" },
  resume: { from: ["suspended"], task: "resuming" },
  rescue: { from: ["active", "stopped", "error"], task: "rescuing" },
  unrescue: { from: ["rescued"], task: "unrescuing" },
  resize: { from: ["active", "stopped"], task: "resize_prep" },
  confirmResize: { from: ["resized"], task: "resize_confirming" },
  revertResize: { from: ["resized"], task: "resize_reverting" },
  rebuild: { from: ["active", "stopped", "error"], task: "rebuilding" },
  shelve: { from: ["active", "stopped", "paused", "suspended"], task: "shelving" },
  shelveOffload: { from: ["shelved"], task: "shelving_offloading" },
  unshelve: { from: ["shelved", "shelved_offloaded"], task: "unshelving" },
  createImage: { from: ["active", "stopped", "paused", "suspended"], task: "image_snapshot_pending" },
  createBackup: { from: ["active", "stopped", "paused", "suspended"], task: "image_backup" },
} as const satisfies Record<string, { readonly from: readonly VmState[]; readonly task: TaskState }>;
export type ServerAction = keyof typeof SERVER_ACTIONS;

/** From which states volumes can be attached and detached. Nova detaches from a suspended server too; its saved memory knows the disk, so that the guest would not come back. */
export const ATTACHABLE_STATES: readonly VmState[] = ["active", "paused", "stopped", "resized"];

/** What an action is called in refusals and in the history. */
export function actionName(action: ServerAction): string {
  return action === "softReboot" || action === "hardReboot" ? "reboot" : action;
}

/** Statuses that depend on the task too; the others follow from the state alone. nova/api/openstack/common.py `_STATE_MAP`. */
const ACTIVE_STATUSES: Readonly<Partial<Record<TaskState, string>>> = {
  rebooting: "REBOOT",
  rebooting_hard: "HARD_REBOOT",
  rebuilding: "REBUILD",
  rebuild_block_device_mapping: "REBUILD",
  rebuild_spawning: "REBUILD",
  resize_prep: "RESIZE",
  resize_finish: "RESIZE",
};
const STOPPED_STATUSES: typeof ACTIVE_STATUSES = {
  resize_prep: "RESIZE",
  resize_finish: "RESIZE",
  rebuilding: "REBUILD",
  rebuild_block_device_mapping: "REBUILD",
  rebuild_spawning: "REBUILD",
  rebooting_hard: "HARD_REBOOT",
};
const STATUSES: Readonly<Record<VmState, string>> = {
  building: "BUILD",
  active: "ACTIVE",
  stopped: "SHUTOFF",
  paused: "PAUSED",
  suspended: "SUSPENDED",
  rescued: "RESCUE",
  resized: "VERIFY_RESIZE",
  shelved: "SHELVED",
  shelved_offloaded: "SHELVED_OFFLOADED",
  error: "ERROR",
};

/** The one word that clients wait for. */
export function statusOf({ vmState, taskState }: { vmState: VmState; taskState: TaskState | null }): string {
  if (vmState === "active" && taskState) return ACTIVE_STATUSES[taskState] ?? STATUSES.active;
  if (vmState === "stopped" && taskState) return STOPPED_STATUSES[taskState] ?? STATUSES.stopped;
  if (vmState === "resized" && taskState === "resize_reverting") return "REVERT_RESIZE";
  if (vmState === "error" && taskState?.startsWith("rebuild")) return "REBUILD";
  return STATUSES[vmState];
}

/** The states that have a status, for lists; with the tasks that give it, or take it away. Undefined: there is no such status. */
export function statesOfStatus(status: string): { vmStates: VmState[] } | undefined {
  const wanted = status.toUpperCase();
  const vmStates = VM_STATES.filter((state) => STATUSES[state] === wanted);
  if (vmStates.length > 0) return { vmStates };
  if (["REBOOT", "HARD_REBOOT", "REBUILD", "RESIZE"].includes(wanted)) return { vmStates: ["active", "stopped", "error"] };
  return wanted === "REVERT_RESIZE" ? { vmStates: ["resized"] } : undefined;
}

/** 404 in Nova's words (exception.InstanceNotFound): also for servers of other projects. */
export const serverNotFound = (id: string): AppError => new AppError("not_found", `Instance ${id} could not be found.`);

/** 409 in Nova's words (common.raise_http_conflict_for_instance_invalid_state). */
export function refusedInState(action: string, server: { id: string; vm_state: string; task_state: string | null }): AppError {
  const [attribute, state] = server.task_state ? ["task_state", server.task_state] : ["vm_state", server.vm_state];
  return new AppError("conflict", `Cannot '${action}' instance ${server.id} while it is in ${attribute} ${state}`);
}

/** 409 unless the action can begin: the server is in one of its states, and nothing is being done to it. */
export function refuseUnlessIn(server: { id: string; vm_state: string; task_state: string | null }, action: ServerAction): void {
  const { from } = SERVER_ACTIONS[action];
  if (server.task_state !== null || !(from as readonly string[]).includes(server.vm_state)) throw refusedInState(action, server);
}

/** 409 in Nova's words (exception.InstanceIsLocked). */
export const serverLocked = (id: string): AppError => new AppError("conflict", `Instance ${id} is locked`);

/** 400 in Nova's words for block devices (exception.InvalidBDM). */
export const invalidDevice = (reason: string): AppError => new AppError("bad_request", `Block Device Mapping is Invalid: ${reason}`);

/** A flavor as a server keeps it: what was given at the time. */
export type ServerFlavor = Pick<Flavor, "id" | "name" | "vcpus" | "ramMib" | "diskGib" | "ephemeralGib" | "swapMib" | "extraSpecs">;

/** A flag among an image's properties, as oslo.utils reads it. */
export function isOn(value: string | undefined): boolean {
  return value !== undefined && ["1", "t", "true", "on", "y", "yes"].includes(value.trim().toLowerCase());
}

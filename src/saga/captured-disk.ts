import type { Plan } from "#/planner/plan.ts";

/** A disk of a server that is to be captured. */
export interface CapturedDisk {
  /** The guest's name for it: `vda`. */
  readonly target: string;
  readonly deviceId: string;
  readonly volumeId: string | null;
  /** The plans, best first: each with a method. */
  readonly ways: readonly Plan[];
  readonly becomes: { readonly kind: "image" | "snapshot"; readonly id: string };
  /** The disk that the pool freezes, where what it becomes is another one. */
  readonly viewId: string;
}

export interface CaptureParams {
  readonly serverId: string;
  readonly disks: readonly CapturedDisk[];
}

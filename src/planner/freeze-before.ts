import type { Strategy } from "#/planner/plan.ts";
import type { Capabilities } from "#/storage/driver.ts";

/** A volume that a disk is made of, as far as it matters for this. */
interface LiveSource {
  readonly can: Capabilities;
  /** A guest may write to it while it is read. */
  readonly mayBeWritten?: boolean | undefined;
}

/** Whether a volume's disk is frozen first, and what was frozen is read: what a clone comes to read through must not change, and what is read for a while not meanwhile. */
export function isReadFrozen(strategy: Strategy | "blank", { can, mayBeWritten }: LiveSource, target: { readonly can: Capabilities }): boolean {
  if (strategy === "adopt" || strategy === "blank") return false; // The image takes what is frozen itself.
  if (strategy === "clone") return target.can.clone === "dependent" && !can.snapshotReadsSource;
  return mayBeWritten === true && can.snapshot;
}

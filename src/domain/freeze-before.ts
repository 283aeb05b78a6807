/** What a pool can, as far as it matters for this. */
interface Freezing {
  readonly clone: "independent" | "dependent" | "none";
  readonly snapshot: boolean;
  readonly snapshotReadsSource?: boolean | undefined;
}

/** A volume that a disk is made of. */
interface LiveSource {
  readonly can: Freezing;
  /** A guest may write to it while it is read. */
  readonly mayBeWritten?: boolean | undefined;
}

/** Whether a volume's disk is frozen first, and what was frozen is read: what a clone comes to read through must not change, and what is read for a while not meanwhile. */
export function isReadFrozen(strategy: string, { can, mayBeWritten }: LiveSource, target: { readonly can: Freezing }): boolean {
  if (strategy === "adopt" || strategy === "blank") return false; // The image takes what is frozen itself.
  if (strategy === "clone") return target.can.clone === "dependent" && !can.snapshotReadsSource;
  return mayBeWritten === true && can.snapshot;
}

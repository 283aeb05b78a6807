import type { Capabilities } from "#/storage/driver.ts";

/** Undefined where the pool can freeze the disk of a guest that runs. */
export function whyNoPoolSnapshot(can: Capabilities): string | undefined {
  if (!can.snapshot) return `the pool cannot freeze a disk: ${can.why.snapshot ?? "its storage has no such call"}`;
  if (movesLiveDisk(can)) return "the pool's clones are overlays: the disk would become another file, while the guest has this one open";
  return undefined;
}

/** Freezing a disk gives its bytes another name, and the live disk is a new file. */
export function movesLiveDisk(can: Capabilities): boolean {
  return can.clone === "dependent" && !can.snapshotReadsSource;
}

/** Undefined where the pool can keep what a disk held at an instant, and tell later what has changed since. */
export function whyNoInstantKept(can: Capabilities): string | undefined {
  return whyNoPoolSnapshot(can) ?? (can.changes ? undefined : `the pool does not know what changes on a disk: ${can.why.changes ?? "its storage has no such call"}`);
}

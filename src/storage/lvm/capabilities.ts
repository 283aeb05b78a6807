import type { Capabilities } from "#/storage/driver.ts";
import type { DiskGroup } from "#/storage/lvm/group.ts";

/** thin_delta (thin-provisioning-tools) reads a snapshot of the pool's metadata, which device-mapper has to be asked for, and there is one for all. */
const WHY_NO_CHANGES = "LVM does not tell what has changed between two of its volumes";

/** What a pool of thin or thick volumes can do, and in words why not more. */
export function capabilitiesOf({ lvm, facts, pool }: DiskGroup): Capabilities {
  const common = { offloadCopy: false, addressable: "write", mutable: true, fills: ["raw", "iso", "qcow2"] } as const;
  const why = { offloadCopy: "LVM copies no volumes by itself", fills: "other formats need a file that grows", changes: WHY_NO_CHANGES };
  if (pool) {
    const place = `lvm:${facts.uuid}/${pool.volume.name}`;
    return { ...common, clone: "independent", snapshot: true, sparse: true, place, why: { ...why, clone: `thin pool "${pool.volume.name}" shares blocks between volumes` } };
  }
  const snapshot = "a snapshot of a thick volume depends on it, fills up, and slows each write";
  const thick = { clone: `volume group "${lvm.group}" has thick volumes, which share nothing`, snapshot, sparse: "thick volumes take all of their size" };
  return { ...common, clone: "none", snapshot: false, sparse: false, place: `lvm:${facts.uuid}`, why: { ...why, ...thick } };
}

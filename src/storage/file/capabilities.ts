import type { Capabilities } from "#/storage/driver.ts";
import type { FolderFacts } from "#/storage/file/probe.ts";

/** What a pool on such a file system can do, and in words why not more. Overlays find their parents in their own folder only. */
export function capabilitiesOf({ directory, device, fileSystem, reflink, hardLink }: FolderFacts): Capabilities {
  const why: Capabilities["why"] = reflink.works
    ? { clone: `${fileSystem} shares blocks between files: clones are reflinks` }
    : { clone: `${fileSystem} cannot share blocks between files (${reflink.because}): clones are qcow2 overlays` };
  const dedup = reflink.works && DEDUPING.includes(fileSystem);
  const changes = !reflink.works ? "layers" : MAPPED.includes(fileSystem) ? "extents" : undefined;
  const snapshot = reflink.works || hardLink.works;
  return {
    clone: reflink.works ? "independent" : "dependent",
    snapshot,
    offloadCopy: true,
    addressable: "write",
    mutable: true,
    sparse: true,
    dedup,
    ...(changes && { changes }),
    place: reflink.works ? `file:${device}` : `file:${directory}`,
    why: {
      ...why,
      ...(!snapshot && { snapshot: `${fileSystem} lets a file have only one name` }),
      ...(!dedup && { dedup: `${fileSystem} cannot be asked to share blocks between files: XFS and btrfs can` }),
      ...(!changes && { changes: `${fileSystem} does not tell where the blocks of a file are, and clones on it have no layers` }),
    },
  };
}

/** Those with FIEMAP, of those that share blocks. */
const MAPPED: readonly string[] = ["xfs", "btrfs"];

/** Those with FIDEDUPERANGE; NFS passes clones on to its server, and not this. */
const DEDUPING: readonly string[] = ["xfs", "btrfs"];

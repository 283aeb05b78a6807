import type { Capabilities } from "#/storage/driver.ts";
import type { FolderFacts } from "#/storage/file/probe.ts";

/** What a pool on such a file system can do, and in words why not more. Overlays find their parents in their own folder only. */
export function capabilitiesOf({ directory, device, fileSystem, reflink, hardLink }: FolderFacts): Capabilities {
  const why: Capabilities["why"] = reflink.works
    ? { clone: `${fileSystem} shares blocks between files: clones are reflinks` }
    : { clone: `${fileSystem} cannot share blocks between files (${reflink.because}): clones are qcow2 overlays` };
  const snapshot = reflink.works || hardLink.works;
  return {
    clone: reflink.works ? "independent" : "dependent",
    snapshot,
    offloadCopy: true,
    addressable: "write",
    mutable: true,
    sparse: true,
    place: reflink.works ? `file:${device}` : `file:${directory}`,
    why: snapshot ? why : { ...why, snapshot: `${fileSystem} lets a file have only one name` },
  };
}

import type { Capabilities } from "#/storage/driver.ts";
import type { FolderFacts } from "#/storage/file/probe.ts";

/** What a pool on such a file system can do, and in words why not more. */
export function capabilitiesOf({ fileSystem, reflink, hardLink }: FolderFacts): Capabilities {
  const why: Capabilities["why"] = reflink.works
    ? { clone: `${fileSystem} shares blocks between files: clones are reflinks` }
    : { clone: `${fileSystem} cannot share blocks between files (${reflink.because}): clones are qcow2 overlays` };
  const snapshot = reflink.works || hardLink.works;
  return {
    clone: reflink.works ? "independent" : "dependent",
    snapshot,
    offloadCopy: true,
    addressable: true,
    sparse: true,
    why: snapshot ? why : { ...why, snapshot: `${fileSystem} lets a file have only one name` },
  };
}

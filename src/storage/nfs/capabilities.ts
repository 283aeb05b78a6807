import type { Capabilities } from "#/storage/driver.ts";
import type { NfsMount } from "#/storage/nfs/mounts.ts";
import type { Share } from "#/storage/nfs/share.ts";

type Known = Pick<Share, "name" | "path" | "mount" | "device" | "can" | "copyOffload">;

/**
 * What a pool on these shares can do: what each of them can. Pools whose first share is on the same export are of one place; what lies
 * on another share of theirs is refused when it is met.
 */
export function capabilitiesOf(shares: readonly [Known, ...Known[]]): Capabilities {
  const sharing = shares.find(({ can }) => can.clone !== "independent") ?? shares[0];
  const copying = shares.find(({ copyOffload }) => !copyOffload.works) ?? shares[0];
  const freezing = shares.find(({ can }) => !can.snapshot);
  const clone = sharing.can.clone;
  const telling = shares.find(({ can }) => !can.changes) ?? shares[0];
  return {
    ...{ clone, snapshot: !freezing, offloadCopy: copying.copyOffload.works },
    ...{ addressable: "write", mutable: true, sparse: true },
    // Overlays find their parents in their own folder only.
    place: `nfs:${clone === "independent" ? shares[0].device : shares[0].path}`,
    ...(telling.can.changes && { changes: telling.can.changes }),
    ...(copying.copyOffload.works && shares[0].mount && { copyPlace: copyPlace(shares[0].mount) }),
    why: {
      clone: whyCloning(sharing),
      offloadCopy: named(copying, copying.copyOffload.because),
      dedup: WHY_NO_DEDUP,
      ...(telling.can.why.changes && { changes: named(telling, telling.can.why.changes) }),
      ...(freezing && { snapshot: named(freezing, freezing.can.why.snapshot ?? "it has no snapshots") }),
    },
  };
}

/** Linux' client has no FIDEDUPERANGE, since the protocol has none (RFC 7862). */
const WHY_NO_DEDUP = "NFS has no call for it: the server alone can share later what disks hold alike, and does not tell whether it does";

/** A server copies between its own exports: the client sends COPY where both files are from one server (Linux, nfs4_copy_file_range()). */
export function copyPlace(mount: NfsMount | undefined): string {
  return mount ? `nfs server ${mount.address ?? mount.server}` : "no server";
}

function whyCloning(share: Known): string {
  const { can, mount } = share;
  if (!mount) return named(share, can.why.clone ?? "");
  if (can.clone === "independent")
    return named(share, "NFSv4.2 CLONE works: the server shares blocks between files");
  return named(share, `the server has no CLONE (mounted with NFS version ${mount.version}) and shares no blocks as far as we can see: clones are qcow2 overlays`);
}

function named({ name }: Known, words: string): string {
  return `${name}: ${words}`;
}

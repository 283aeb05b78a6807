import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { RbdImage, RbdSnapshot } from "#/tools/rbd.ts";

/**
 * How disks are called in a Ceph pool:
 *
 *     <id>            a disk
 *     <id>.partial    unfinished work; nobody reads it
 *     <id>@snap       what clones of a disk read that never changes (images): named, and made beforehand, as Glance does
 *     <source>@<id>   what the clone or snapshot <id> reads of a disk that goes on. With clones of format 2 it is removed at once,
 *                     and Ceph keeps it, out of sight, until <id> has no need of it; with format 1 it goes with <id>.
 */
export interface RbdPlace {
  /** The cluster's id. */
  readonly fsid: string;
  readonly pool: string;
  readonly namespace: string | undefined;
}

export const FROZEN = "snap";

export function wholeImage({ pool, namespace }: RbdPlace, id: DiskId): RbdImage {
  return { pool, namespace, image: id };
}

export function partialImage(place: RbdPlace, id: DiskId): RbdImage {
  return { ...wholeImage(place, id), image: `${id}.partial` };
}

const NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(\.partial)?$/;

/** Undefined for an image or a snapshot that is none of ours. */
export function parseName(name: string | undefined): { readonly id: DiskId; readonly isPartial: boolean } | undefined {
  const [, id, partial] = NAME.exec(name ?? "") ?? [];
  return id === undefined ? undefined : { id: diskId(id), isPartial: partial !== undefined };
}

/** As Glance writes it (glance_store/_drivers/rbd.py, StoreLocation): rbd://FSID/POOL/IMAGE/SNAPSHOT, each part escaped; a namespace is in the pool's. */
export function locationOf({ fsid, pool, namespace }: RbdPlace, id: DiskId): string {
  const parts = [fsid, namespace ? `${pool}/${namespace}` : pool, id, FROZEN];
  return `rbd://${parts.map(encodeURIComponent).join("/")}`;
}

/** The image, and the snapshot where one is named, at a location in the cluster. `not_supported` for any other. */
export function parseLocation(location: string, fsid: string): RbdImage & { readonly snapshot?: string } {
  const parts = /^rbd:\/\/([^/]+)\/([^/]+)\/([^/]+)(?:\/([^/]+))?$/.exec(location)?.slice(1);
  const [cluster, place = "", image = "", snapshot] = (parts ?? []).map((part) => part && decodeURIComponent(part));
  if (cluster !== fsid) throw new AppError("not_supported", `"${location}" is not in this Ceph cluster, ${fsid}`);
  const [pool = "", namespace] = place.split("/");
  return { pool, namespace, image, ...(snapshot && { snapshot }) };
}

export function isSnapshot(image: RbdImage & { readonly snapshot?: string | undefined }): image is RbdSnapshot {
  return image.snapshot !== undefined;
}

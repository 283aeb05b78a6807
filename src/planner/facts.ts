import type { ClusterCompression } from "#/domain/compression.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import type { DiskId, PoolName } from "#/domain/ids.ts";
import type { PlanStream } from "#/planner/plan.ts";
import type { Capabilities } from "#/storage/driver.ts";

/** What the planner looks at, gathered beforehand: choosing needs no I/O and no clock. Sizes in bytes. */
export interface Facts {
  readonly source: SourceFacts;
  readonly target: TargetFacts;
}

export interface SourceFacts {
  readonly kind: "image" | "volume" | "snapshot" | "server";
  readonly id: string;
  readonly pool: PoolName;
  readonly can: Capabilities;
  readonly format: DiskFormat;
  /** Of an opaque disk that is a compressed stream: the format of the disk in it. */
  readonly packed?: DiskFormat | undefined;
  readonly virtualSizeBytes: number;
  /** What its content takes in its pool: the most that reading it can cost. */
  readonly allocatedBytes: number;
  /** What of that is its own, and not its parents'. */
  readonly ownBytes: number;
  /** How many disks it reads through. */
  readonly depth: number;
  /** Its bytes may still change: a volume. Images and snapshots are frozen. */
  readonly live: boolean;
  /** A guest may write to it while it is read. */
  readonly mayBeWritten?: boolean | undefined;
  /** Why its bytes can only be read and neither shared nor copied by the storage, where they come out of a guest. */
  readonly readOut?: string | undefined;
  /** Of a server's disk that is to be an image: the image before, where what changed since then is known. */
  readonly since?: Since | undefined;
}

export interface TargetFacts {
  readonly kind: "volume" | "server" | "image" | "snapshot";
  readonly pool: PoolName;
  readonly can: Capabilities;
  readonly format: DiskFormat;
  readonly virtualSizeBytes: number;
  readonly clusters?: ClusterCompression | undefined;
  readonly stream?: PlanStream | undefined;
  /** Clones upon clones up to here; ≤ 0: no clone at all. */
  readonly cloneDepthMax: number;
  /** A volume from a snapshot is not to keep the snapshot's volume. */
  readonly flattenFromSnapshot?: boolean | undefined;
  /** A server's disk that is not to read through another (Nova's `use_cow_images` = False). */
  readonly standsAlone?: boolean | undefined;
  /** An image that only waits until its server is unshelved: it may read through other disks for as long. */
  readonly mayReadThrough?: boolean | undefined;
  readonly cache: CacheFacts;
}

/** The pool's cache of images. `entry`: it has this image, at this depth. `closed`: why it will not take it. */
export interface CacheFacts {
  readonly entry?: { readonly depth: number } | undefined;
  readonly closed?: string | undefined;
}

/** An image that was made of a server's disk, from whose instant on somebody knows what changes on the disk. */
export interface PreviousImage {
  readonly imageId: string;
  /** The guest's QEMU remembers it, or the disk's pool keeps what the disk held then. */
  readonly toldBy: "guest" | "pool";
  readonly diskId: DiskId;
  readonly pool: PoolName;
  readonly virtualSizeBytes: number;
  /** How many disks it reads through. */
  readonly depth: number;
}

/** `unknown`: why there is no such image, as words for an operator. */
export type Since = PreviousImage | { readonly unknown: string };

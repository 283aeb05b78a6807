import type { DiskId, PoolName } from "./ids.ts";

/**
 * A disk: bytes in a pool. An image, a volume, a snapshot, a cache entry and a server's disk are the same thing,
 * held by different records; every disk has exactly one holder.
 */
export interface Disk {
  readonly id: DiskId;
  readonly pool: PoolName;
  /** What the bytes are, seen through the pool. Volumes and snapshots are always `raw`, however the pool keeps them. */
  readonly format: DiskFormat;
  /** Of an `opaque` disk that is a compressed stream: the format of the disk in the stream. */
  readonly packed?: DiskFormat | undefined;
  /** What a guest sees. */
  readonly virtualSizeBytes: number;
  /** The disk that this one shares bytes with and cannot be read without; undefined where it stands alone. */
  readonly parent?: DiskId | undefined;
  /** URL of the bytes, where they do not lie in the pool under the disk's id: they were registered, and are not ours to delete. */
  readonly location?: string | undefined;
  readonly holder: Holder;
  readonly state: DiskState;
}

/** The formats of a disk's content. `opaque` is an image whose bytes no tool may open (containers, compressed streams, kernels). */
export const DISK_FORMATS = ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "luks", "opaque"] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/**
 * The record that a disk belongs to. An `ancestor` is held by its own descendants: its record is gone, but disks
 * still read through it; it goes with the last of them. A `base` is what a server's disk held when an image was made of it, and is
 * held by that image: the pool tells by it what has changed since.
 */
export interface Holder {
  readonly kind: HolderKind;
  readonly id: string;
}
export const HOLDER_KINDS = ["image", "volume", "snapshot", "server", "cache", "base", "ancestor"] as const;
export type HolderKind = (typeof HOLDER_KINDS)[number];

/** `filling`: an operation is writing it. `ready`: whole. `deleting`: an operation is removing it. */
export const DISK_STATES = ["filling", "ready", "deleting"] as const;
export type DiskState = (typeof DISK_STATES)[number];

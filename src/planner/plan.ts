import type { ClusterCompression, Compression } from "#/domain/compression.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import type { PoolName } from "#/domain/ids.ts";

/** The ways to materialise a disk from a source, cheapest first. */
export const STRATEGIES = ["adopt", "clone", "clone_cached", "copy_changes", "offload_copy", "stream_convert", "staged_convert"] as const;
export type Strategy = (typeof STRATEGIES)[number];

/**
 * How a disk will come to be, and why so. Frozen data: shown by a dry run, kept with the operation, and held against
 * what really happened. All sizes in bytes.
 */
export interface Plan {
  readonly source: PlanSource;
  readonly target: PlanTarget;
  /** `blank` where there is no source: the disk reads as zeroes. */
  readonly strategy: Strategy | "blank";
  readonly reason: string;
  readonly steps: readonly PlanStep[];
  readonly bytes: PlanBytes;
  /** The result cannot be read without another disk. */
  readonly dependsOnParent: boolean;
  /** How many disks the result reads through. */
  readonly depth: number;
  /** The result is deeper than its pool likes, or an image, and is made independent in the background afterwards. */
  readonly flattenAfter: boolean;
  /** The bytes are converted once into the pool's cache, and the result is a clone of that. */
  readonly fillsCache: boolean;
  /** Why each cheaper way was passed over. */
  readonly passedOver: readonly PassedOver[];
  /** The dearer ways that are open too, should this one break. */
  readonly fallbacks: readonly Strategy[];
  /** Why this pool, where there were others. */
  readonly poolChoice?: PoolChoice;
  /** How the bytes of a server's disk are read at one instant. */
  readonly capture?: CaptureChoice;
}

/** The ways to read a disk of a server at one instant, least trouble for its guest first. */
export const CAPTURE_METHODS = ["at_rest", "pool_snapshot", "backup_job", "live_mirror", "cold"] as const;
export type CaptureMethod = (typeof CAPTURE_METHODS)[number];

export interface CaptureChoice {
  readonly method: CaptureMethod;
  readonly reason: string;
  /** Why each gentler method was passed over. */
  readonly passedOver: readonly { readonly method: CaptureMethod; readonly because: string }[];
  /** The other methods that are open, should this one break. */
  readonly fallbacks: readonly CaptureMethod[];
  /** The methods that are not open, gentler or not, with the reason against each. */
  readonly closed: readonly { readonly method: CaptureMethod; readonly because: string }[];
  /**
   * Who knows from this instant on what changes on the disk, so that the next image of it can be made of that: the guest's QEMU, or the pool, which keeps what
   * the disk held. `nobody`: what was remembered before is given up. Undefined: all stays as it was.
   */
  readonly remembers?: "guest" | "pool" | "nobody" | undefined;
}

export interface PoolChoice {
  readonly because: string;
  readonly passedOver: readonly { readonly pool: PoolName; readonly because: string }[];
}

export type SourceKind = "blank" | "image" | "volume" | "snapshot" | "server";
export interface PlanSource {
  readonly kind: SourceKind;
  readonly id?: string | undefined;
  readonly pool?: PoolName | undefined;
  readonly format?: DiskFormat | undefined;
  /** The format of the disk in a compressed stream. */
  readonly packed?: DiskFormat | undefined;
}

export interface PlanTarget {
  readonly kind: "volume" | "server" | "image" | "snapshot";
  readonly pool: PoolName;
  readonly format: DiskFormat;
  readonly virtualSizeBytes: number;
  /** Of an image whose clusters are to be compressed. */
  readonly clusters?: ClusterCompression | undefined;
  /** Of an image that is to be a compressed stream; its `format` is `opaque` then. */
  readonly stream?: PlanStream | undefined;
}

export interface PlanStream {
  readonly compression: Compression;
  /** The format of the disk in the stream. */
  readonly packed: DiskFormat;
  /** What compresses, in words: the fastest that this machine has. */
  readonly engine: string;
}

export interface PlanStep {
  readonly name: string;
  readonly description: string;
}

/** What is expected to be read and written in the pools, to pass through this machine, and to lie in temporary files. */
export interface PlanBytes {
  readonly read: number;
  readonly written: number;
  readonly throughUs: number;
  readonly temporary: number;
}

export interface PassedOver {
  readonly strategy: Strategy;
  readonly because: string;
}

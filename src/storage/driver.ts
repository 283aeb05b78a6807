import type { BlockNode } from "#/domain/block-node.ts";
import type { Disk, DiskFormat } from "#/domain/disk.ts";
import type { DiskId } from "#/domain/ids.ts";

/**
 * A storage driver keeps disks in one pool of one backend.
 *
 * What holds for every method, and is checked for every driver by `contract.ts`:
 * - it throws only `AppError`, with the backend's own error as `cause`; the message is the reason alone, since `pool.ts`
 *   says what was being done, to which disk and where;
 * - it may be repeated after a crash: making what is there and deleting what is gone succeed;
 * - names come from disk ids alone, so that a repeated call finds its own earlier work;
 * - when it throws, it has left nothing behind under the target's id;
 * - `signal` ends it soon, with the code `cancelled`, and what it had begun is removed.
 *
 * The caller (`storage/pool.ts`) guarantees that sizes are whole numbers of bytes ≥ 0, that ids are UUIDs, that a
 * disk is not deleted while another method works on it, and that the parent of a disk is not deleted before it.
 */
export interface StorageDriver extends AsyncDisposable {
  /** The kind of driver: "file", "memory", … */
  readonly kind: string;
  readonly can: Capabilities;

  /** Total and free bytes of the place itself, as it is now; `pool_unavailable` where it cannot be reached. */
  capacity(): Promise<Capacity>;

  /** Every disk that has bytes here, whole or partial, in any order; sizes may be rounded up to sectors. The audit compares it with the records. */
  list(): AsyncIterable<StoredDisk>;

  /** What is stored under the id, or at the location; else undefined. Partial work counts as nothing. */
  stat(id: DiskId, location?: string): Promise<StoredDisk | undefined>;

  /**
   * The URL of a disk's bytes, as any driver of the same `can.place` finds them and as Glance writes such locations:
   * `rbd://FSID/POOL/IMAGE/SNAPSHOT`, `file:///PATH`, `s3://HOST/BUCKET/OBJECT`. Looks at nothing.
   */
  locate(disk: Pick<StoredRef, "id" | "location">): string;

  /** Makes a raw disk that reads as zeroes and takes (nearly) no space. Only where `can.mutable`. */
  create(target: NewDisk, options?: WorkOptions): Promise<void>;

  /** Opens a new disk of any format to be filled; nothing is visible until `finish()`. Repeated, it begins anew and replaces what was there. */
  receive(target: NewDisk, options?: WorkOptions): Promise<DiskWriter>;

  /**
   * Bytes `start` up to, not with, `end` of the stored content, in order; `disk_not_found` where it ends before. Buffers are
   * reused: consume each before the next. A hole may come as parts of `lib/zeroes.ts` ZEROES.
   */
  read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array>;

  /**
   * Makes `target` with the content `source` has now, by sharing its bytes, in constant time; larger where
   * `target.virtualSizeBytes` is (raw only). The format stays; where `can.clone` is `dependent`, only raw disks can be
   * cloned (`not_supported`), and the source must never change again, unless `can.snapshotReadsSource`. Only where `can.clone` is not `none`. A source that
   * lies in another pool of the same `can.place` comes with its `location`; so too for `copy()`.
   */
  clone(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage>;

  /**
   * Freezes what `source` holds now under the id of `target`, in constant time, while `source` goes on with the
   * same content. Raw disks only, and only where `can.snapshot`. With a dependent pool, `source` comes to stand on `target`;
   * where `can.snapshotReadsSource`, `target` on `source`.
   */
  snapshot(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage>;

  /** Makes `target` as a full copy of `source`, in the same format, larger where it says so (raw only), without the bytes passing through us. Only where `can.offloadCopy`. */
  copy(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<void>;

  /**
   * Makes `target` with `fill` writing into the block node it is given (a raw disk of `virtualSizeBytes`, reading as
   * zeroes; or, for other formats, a file that a tool creates). Nothing is visible under the id until `fill` has ended well.
   * Only where `can.addressable` is `write`.
   */
  fill(target: NewDisk, fill: Fill, options?: WorkOptions): Promise<void>;

  /** Makes a raw disk larger; the new end reads as zeroes. Never smaller: a repeated call finds it done. Only where `can.mutable`. */
  resize(disk: StoredRef, virtualSizeBytes: number, options?: WorkOptions): Promise<void>;

  /** Makes a disk independent of its parent, by copying what it shares. The content never changes; no-op where it stands alone. */
  flatten(disk: StoredRef, options?: WorkOptions): Promise<void>;

  /** Removes the disk and any partial work under its id. Once it has begun the disk is no longer there, also when it fails or is cancelled. */
  delete(id: DiskId, options?: WorkOptions): Promise<void>;

  /**
   * The disk as QEMU's block layer addresses it in place, with every format named, never probed. Only where `can.addressable` allows it.
   */
  open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode>;

  /**
   * Finds blocks that several disks here hold alike, and has the storage keep them once. The content of no disk changes, also while it is
   * being written to: the storage compares by itself. Repeated, it finds what was not shared yet. Only where `can.dedup`.
   */
  dedup?(options?: DedupOptions): Promise<void>;

  /** How much of the space that the disks here take is shared between them. Reads the map of every disk: not for a request's path. Only where `can.dedup`. */
  measureSpace?(options?: WorkOptions): Promise<SharedSpace>;

  /**
   * The parts of a range of `to` that may differ from `from`, as guests see both, in order and apart: every difference is in one of them, and
   * they may name more. Beyond its end a disk counts as zeroes. Reads no content; of a disk that is being written to, it is the view of a
   * moment. Raw disks only; `not_supported` where the two have nothing in common that the pool keeps track of. Only where `can.changes`.
   */
  changes?(from: StoredRef, to: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<ByteRange>;
}

/** How a pool knows what has changed, without reading it. */
export type ChangesBy =
  /** What was written into the layers that stand on the last disk that both read through. */
  | "layers"
  /** Where the file system keeps each block: those that both have in the same place are the same. */
  | "extents"
  /** Which objects were written since. */
  | "objects"
  /** Pieces in memory, which are shared until one is written. */
  | "pieces";

/** Writes into a block node; `bytesPerSecondMax` is how fast it may, where the pool has a limit. */
export type Fill = (node: BlockNode, bytesPerSecondMax?: number) => Promise<void>;

/** What the planner may count on: data, decided by the driver after probing at start. `why` has the reason for each weak answer. */
export interface Capabilities {
  /** `independent`: clones stand alone (reflink). `dependent`: a clone reads through its parent (overlay, RBD). */
  readonly clone: "independent" | "dependent" | "none";
  readonly snapshot: boolean;
  /**
   * A snapshot reads through its source, which goes on in place, instead of the source through the snapshot; and a dependent clone can be
   * made of a source that goes on (RBD).
   */
  readonly snapshotReadsSource?: boolean;
  /** The storage copies by itself (copy_file_range, NFS COPY). */
  readonly offloadCopy: boolean;
  /** Whether QEMU can open disks of this pool in place, so that any byte of any format can be read, or also written, without staging. */
  readonly addressable: "write" | "read" | "none";
  /** The formats in which `fill()` can make disks, where not in all: a device does not grow under a tool as a file does. */
  readonly fills?: readonly DiskFormat[];
  /** Disks can be made blank and grow. Object stores hold what they receive whole, and it never changes. */
  readonly mutable: boolean;
  /** Whether a guest that has a disk open can see it grow; where nothing is said, it can. */
  readonly growsInUse?: boolean;
  /** Others fill it: nothing can be received, made or deleted, and every disk has a location. */
  readonly readOnly?: boolean;
  /** Holes take no space. */
  readonly sparse: boolean;
  /** Pools of the same place (a file system, a Ceph cluster) share and copy bytes among each other. A pool that can't do that is a place of its own. */
  readonly place: string;
  /** Pools of the same copy place copy bytes among each other, though they may not share any: two exports of one server. Without it, the place is meant. */
  readonly copyPlace?: string;
  /** Blocks that disks hold alike can be made to be shared. */
  readonly dedup?: boolean;
  /** The pool knows what has changed between two of its disks, and how it does. */
  readonly changes?: ChangesBy;
  /** Reasons in words, by capability: "ext4 has no reflink: clones are qcow2 overlays". */
  readonly why: Readonly<Partial<Record<"clone" | "snapshot" | "offloadCopy" | "addressable" | "fills" | "mutable" | "growsInUse" | "sparse" | "dedup" | "changes", string>>>;
}

export interface Capacity {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** How full the place's own bookkeeping is, where that can run full before the place does (LVM's thin pools). */
  readonly metadataPercent?: number;
}

/** As much of a disk as a driver needs to find it again. */
export type StoredRef = Pick<Disk, "id" | "format" | "virtualSizeBytes" | "parent" | "location">;
/** As much of a disk as a driver needs to make it. */
export type NewDisk = Pick<Disk, "id" | "format" | "virtualSizeBytes"> & {
  /** It never changes once it is whole (an image, a cached image): a driver may make it ready for clones. */
  readonly frozen?: boolean | undefined;
};

export interface StoredDisk {
  readonly id: DiskId;
  /** The length of the content: what `read` can give. For a raw disk its virtual size. */
  readonly sizeBytes: number;
  /** Bytes taken in the pool; shared bytes count where the file system says so. */
  readonly allocatedBytes: number;
  readonly parent?: DiskId | undefined;
  /** Only partial work is there (a crash in the middle). */
  readonly partial?: boolean;
  /** Why its bytes can only be read from the first to the last, whatever `can.addressable` says of the others: its server has no ranges. */
  readonly onlyInOrder?: string;
}

/** The parents after a clone or snapshot. A key that is absent has not changed; undefined means: stands alone. */
export interface Lineage {
  readonly target: DiskId | undefined;
  readonly source?: DiskId | undefined;
}

export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface WorkOptions {
  readonly signal?: AbortSignal | undefined;
  /** From 0 to 1, as often as the driver likes. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  /** For programs that move bytes between disks of the pool; without it, there is no limit. */
  readonly bytesPerSecondMax?: number | undefined;
}

export interface DedupOptions extends WorkOptions {
  /** Disks that are likely to be alike next to each other; those that are not named come last. */
  readonly order?: readonly DiskId[] | undefined;
  /** Called now and then with what was done since the last call. */
  readonly onDone?: ((done: Deduped) => void) | undefined;
  /** Waits until it is these bytes' turn to be read. */
  readonly pass?: ((bytes: number) => Promise<void>) | undefined;
}

export interface Deduped {
  /** Read to be compared. */
  readonly bytesRead: number;
  /** Kept once from now on, and taken twice before. */
  readonly bytesShared: number;
}

export interface SharedSpace {
  /** What the disks would take if nothing were shared. */
  readonly allocatedBytes: number;
  /** What they take. */
  readonly physicalBytes: number;
  /** How much of `allocatedBytes` is shared with another disk or another part of the same. */
  readonly sharedBytes: number;
}

/**
 * Fills a new disk in order. `write` may be called while an earlier call is under way, up to `concurrency` at once,
 * with page-aligned blocks of any length that is a multiple of 4096, but for the last. Exactly one of `finish` and `abort` ends
 * it, and one of them must be called: a `finish` that fails has aborted.
 */
export interface DiskWriter {
  readonly concurrency: number;
  write(block: Uint8Array, offsetBytes: number): Promise<void>;
  /** Makes the disk visible, whole and on stable storage, `sizeBytes` long. */
  finish(sizeBytes: number): Promise<void>;
  abort(): Promise<void>;
}

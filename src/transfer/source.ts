import type { BlockNode } from "#/domain/block-node.ts";
import type { Disk, DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { StorageDriver, StoredDisk, StoredRef } from "#/storage/driver.ts";

/** As much of a pool as reading one of its disks takes. */
export type SourcePool = Pick<StorageDriver, "can" | "open" | "stat" | "read">;

/** A disk and the pool that it is in. */
export interface Source {
  readonly pool: SourcePool;
  readonly disk: StoredRef & Pick<Disk, "packed">;
  /** The disks that it reads through, wherever they lie. */
  readonly ancestors?: readonly Pick<Source, "pool" | "disk">[] | undefined;
  /** Why it can only be read from the first byte to the last, if so; `withFacts()` knows. */
  readonly onlyInOrder?: string | undefined;
}

/** The source with what only its pool can say of it. That is asked only of bytes that others registered: it takes a process with Ceph and LVM. */
export async function withFacts<Work extends { readonly source: Source }>(work: Work): Promise<Work> {
  if (work.source.disk.location === undefined) return work;
  const { onlyInOrder } = await statSource(work.source);
  return { ...work, source: { ...work.source, onlyInOrder } };
}

/** By QEMU, in place. */
export function isReadable({ pool, disk, onlyInOrder }: Source): boolean {
  return pool.can.addressable !== "none" && !disk.packed && onlyInOrder === undefined;
}

/** The format of the disk in it: where a compressed stream is stored, of what that holds. */
export function formatOf({ disk }: { readonly disk: Pick<Disk, "format" | "packed"> }): DiskFormat {
  return disk.packed ?? disk.format;
}

/** Formats whose bytes are the disk itself. */
export function isPlain(format: DiskFormat): boolean {
  return format === "raw" || format === "iso" || format === "luks";
}

/** Whether a disk of the one format is one of the other without a change. */
export function isSameContent(a: DiskFormat, b: DiskFormat): boolean {
  return a === b || (isPlain(a) && isPlain(b));
}

/** Plain bytes are opened as such: QEMU would ask for the key of a LUKS disk. */
export function openSource({ pool, disk }: Source): Promise<BlockNode> {
  return pool.open(isPlain(disk.format) ? { ...disk, format: "raw" } : disk, "read");
}

export async function statSource({ pool, disk }: Pick<Source, "pool"> & { readonly disk: Pick<StoredRef, "id" | "location"> }): Promise<StoredDisk> {
  const stored = await pool.stat(disk.id, disk.location);
  if (!stored) throw new AppError("disk_not_found", `Cannot read disk ${disk.id}: it is not in its pool.`);
  return stored;
}

/** What reading all of the disk costs at most: the space that it and the disks that it reads through take. */
export async function dataBytes(source: Source): Promise<number> {
  const stored = await statSource(source);
  const ancestors = await Promise.all((source.ancestors ?? []).map(({ pool, disk }) => pool.stat(disk.id, disk.location)));
  const bytes = ancestors.reduce((sum, ancestor) => sum + (ancestor?.allocatedBytes ?? 0), stored.allocatedBytes);
  return Math.min(bytes, stored.sizeBytes);
}

import type { AppContext } from "#/app/context.ts";
import { findVisibleImage } from "#/app/find-image.ts";
import type { Snapshots } from "#/app/snapshots.ts";
import type { Volumes } from "#/app/volumes.ts";
import { findDisk } from "#/db/disks.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import { requireDownload } from "#/domain/image-access.ts";
import type { ByteRange, ChangesBy } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";
import { type DiskExtent, type DiskExtents, extentsOf } from "#/transfer/extents.ts";
import { isPlain } from "#/transfer/source.ts";

const MAPPED_KINDS = ["snapshot", "volume", "image"] as const;
export type MappedKind = (typeof MAPPED_KINDS)[number];

/** Whose disk. */
export interface Mapped {
  readonly kind: MappedKind;
  readonly id: string;
}

/** Which part of the disk, and how much of its map at most. */
export interface MapPage {
  readonly offset: number;
  /** Up to the end of the disk where it is left out. */
  readonly length?: number | undefined;
  readonly limit: number;
}

/** A part of a disk's map; sizes and places in bytes of what a guest sees, sums of this part alone. */
interface Part extends Mapped {
  readonly sizeBytes: number;
  readonly start: number;
  /** Where this part ends. */
  readonly end: number;
  /** The offset to go on at; absent where all that was asked for is here. */
  readonly next?: number;
  /** How it is known, in words. */
  readonly how: string;
}

export interface ExtentsPart extends Part {
  readonly extents: readonly DiskExtent[];
  readonly dataBytes: number;
  readonly zeroBytes: number;
}

export interface ChangesPart extends Part {
  readonly since: Mapped;
  /** Every difference is in one of them. */
  readonly changes: readonly ByteRange[];
  readonly changedBytes: number;
}

/** Where disks hold data, and what of them has changed since another: what backup programs and copies need, without reading. */
export class DiskMaps {
  readonly #context: AppContext;
  readonly #volumes: Volumes;
  readonly #snapshots: Snapshots;

  constructor(context: AppContext, { volumes, snapshots }: { volumes: Volumes; snapshots: Snapshots }) {
    this.#context = context;
    this.#volumes = volumes;
    this.#snapshots = snapshots;
  }

  async extents(caller: Caller, mapped: Mapped, page: MapPage, signal?: AbortSignal): Promise<ExtentsPart> {
    const { pool, disk } = await this.#find(caller, mapped);
    const range = rangeOf(page, disk);
    const { how, extents } = await extentsOf({ pool, disk }, range, { signal });
    const { items, ...part } = await take(extents, range, page.limit);
    const bytesOf = (kind: DiskExtent["kind"]) => sum(items.filter((extent) => extent.kind === kind));
    return { ...mapped, sizeBytes: disk.virtualSizeBytes, ...part, how: EXTENTS_BY[how], extents: items, dataBytes: bytesOf("data"), zeroBytes: bytesOf("zero") };
  }

  async changes(caller: Caller, mapped: Mapped, sinceId: string, page: MapPage, signal?: AbortSignal): Promise<ChangesPart> {
    const { pool, disk } = await this.#find(caller, mapped);
    const older = await this.#findAny(caller, sinceId);
    const range = rangeOf(page, disk);
    const { by, from } = relate(older, { pool, disk });
    const { items, ...part } = await take(pool.changes(from, disk, range, { signal }), range, page.limit);
    return { ...mapped, since: older.mapped, sizeBytes: disk.virtualSizeBytes, ...part, how: CHANGES_BY[by], changes: items, changedBytes: sum(items) };
  }

  async #find(caller: Caller, mapped: Mapped): Promise<Found> {
    requireRole(caller, "reader", "see where disks hold data");
    const id = await this.#diskOf(caller, mapped);
    const disk = id === undefined ? undefined : await findDisk(this.#context.db, id);
    if (disk?.state !== "ready") throw new AppError("conflict", `The ${mapped.kind} ${mapped.id} has no disk that is whole: wait until it is ${READY_WORD[mapped.kind]}.`);
    return { mapped, disk, pool: this.#context.pools.get(disk.pool) };
  }

  async #diskOf(caller: Caller, { kind, id }: Mapped): Promise<DiskId | undefined> {
    const { db } = this.#context;
    if (kind === "image") {
      const image = await findVisibleImage(db, caller, id);
      requireDownload(caller, image);
      if (image.status === "active" && image.diskId === null) throw new AppError("conflict", `The image ${id} has no disk of its own: it stands for snapshots of volumes, which have maps.`);
      return image.diskId ?? undefined;
    }
    const { disk_id: found } = await (kind === "volume" ? this.#volumes : this.#snapshots).find(db, caller, id);
    return found === null ? undefined : diskId(found);
  }

  async #findAny(caller: Caller, id: string): Promise<Found> {
    for (const kind of MAPPED_KINDS) {
      const found = await this.#find(caller, { kind, id }).catch((error: unknown) => {
        if (asAppError(error)?.code !== "not_found") throw error;
      });
      if (found) return found;
    }
    throw new AppError("not_found", `There is no snapshot, volume or image ${id} to compare with.`);
  }
}

interface Found {
  readonly mapped: Mapped;
  readonly disk: Disk;
  readonly pool: Pool;
}

const READY_WORD = { snapshot: "available", volume: "available", image: "active" } as const satisfies Record<MappedKind, string>;

/** How the newer disk's pool knows; the older one with its location, where that is another pool. Errors: `not_supported`. */
function relate(older: Found, { pool, disk }: Pick<Found, "pool" | "disk">): { by: ChangesBy; from: Disk } {
  const refusal = (because: string) => new AppError("not_supported", `Cannot tell what has changed since ${older.mapped.kind} ${older.mapped.id}: ${because}.`);
  const packed = [older.disk, disk].find(({ format, packed: inner }) => !isPlain(format) || inner !== undefined);
  if (packed) throw refusal(`a disk that is kept as ${packed.packed ? "a compressed stream" : packed.format} has other bytes than a guest sees`);
  const by = pool.can.changes;
  if (!by) throw refusal(pool.can.why.changes ?? `pool "${pool.name}" has no way to know it`);
  if (older.disk.pool === disk.pool) return { by, from: older.disk };
  if (older.pool.can.place !== pool.can.place) throw refusal(`it is in pool "${older.pool.name}", which shares nothing with pool "${pool.name}"`);
  return { by, from: { ...older.disk, location: older.pool.locate(older.disk) } };
}

function rangeOf({ offset, length }: MapPage, { virtualSizeBytes }: Disk): ByteRange {
  if (offset > virtualSizeBytes) throw new AppError("bad_request", `The disk ends at byte ${virtualSizeBytes}: there is nothing at offset ${offset}.`);
  return { start: offset, end: length === undefined ? virtualSizeBytes : Math.min(virtualSizeBytes, offset + length) };
}

/** The first so many, and where the next one begins. */
async function take<Item extends ByteRange>(all: AsyncIterable<Item>, { start, end }: ByteRange, limit: number) {
  const items: Item[] = [];
  for await (const item of all) {
    if (items.length === limit) return { items, start, end: item.start, next: item.start };
    items.push(item);
  }
  return { items, start, end };
}

function sum(ranges: readonly ByteRange[]): number {
  return ranges.reduce((bytes, { start, end }) => bytes + end - start, 0);
}

const EXTENTS_BY = {
  map: "by the tables of the disk and of its storage; nothing was read",
  reading: "by reading it: this storage has no tables of what holds data",
} as const satisfies Record<DiskExtents["how"], string>;

const CHANGES_BY = {
  layers: "by what was written into the overlays above the disk that both read through; nothing was read",
  extents: "by where the file system keeps their blocks: those in the same place are the same; nothing was read",
  objects: "by which objects were written since; nothing was read",
  pieces: "by the pieces that both still share; nothing was read",
} as const satisfies Record<ChangesBy, string>;

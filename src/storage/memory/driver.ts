import { randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { joined } from "#/lib/ranges.ts";
import { GiB } from "#/lib/units.ts";
import { dataRuns, isZero, ZEROES } from "#/lib/zeroes.ts";
import type {
  ByteRange,
  Capabilities,
  Capacity,
  DedupOptions,
  DiskWriter,
  Lineage,
  NewDisk,
  SharedSpace,
  StorageDriver,
  StoredDisk,
  StoredRef,
  WorkOptions,
} from "#/storage/driver.ts";
import { type Chunk, CHUNK_BYTES, ChunkSpace, SparseBytes } from "#/storage/memory/chunks.ts";

export interface MemoryDriverOptions {
  /** Another pool, to share the place with: its space, and clones across the two. */
  readonly beside?: MemoryDriver;
  /** As much as all disks together may hold. */
  readonly capacityBytes?: number;
  /** Clones that stand alone, as on XFS, or that read through their parent, as overlays do. */
  readonly clone?: Capabilities["clone"];
}

/** Disks in the memory of this process, sparse: for tests, for simulation, and to learn what a driver must do. */
export class MemoryDriver implements StorageDriver {
  readonly kind = "memory";
  readonly can: Capabilities;
  readonly #space: ChunkSpace;
  /** The pools of the same place, this one too. */
  readonly #neighbours: MemoryDriver[];
  readonly #disks = new Map<DiskId, MemoryDisk>();
  /** Disks that are being written; they count as partial. */
  readonly #partial = new Map<DiskId, MemoryDisk>();

  constructor({ beside, capacityBytes = GiB, clone = beside?.can.clone ?? "independent" }: MemoryDriverOptions = {}) {
    this.#space = beside ? beside.#space : new ChunkSpace(capacityBytes);
    this.#neighbours = beside ? beside.#neighbours : [];
    this.#neighbours.push(this);
    this.can = {
      clone,
      snapshot: clone !== "none",
      offloadCopy: true,
      addressable: "none",
      mutable: true,
      sparse: true,
      dedup: true,
      changes: "pieces",
      place: beside?.can.place ?? `memory:${randomUUID()}`,
      why: { addressable: "no other program can open disks in this one's memory" },
    };
  }

  async capacity(): Promise<Capacity> {
    return { totalBytes: this.#space.totalBytes, freeBytes: this.#space.freeBytes };
  }

  async *list(): AsyncIterable<StoredDisk> {
    for (const [id, disk] of [...this.#disks]) yield stored(id, disk);
    for (const [id, disk] of [...this.#partial]) if (!this.#disks.has(id)) yield { ...stored(id, disk), partial: true };
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    const disk = location === undefined ? this.#disks.get(id) : this.#findAt({ id, location });
    return disk && stored(id, disk);
  }

  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? `${this.can.place}/${this.#neighbours.indexOf(this)}/${id}`;
  }

  async create(target: NewDisk, { signal }: WorkOptions = {}): Promise<void> {
    throwIfCancelled(signal);
    if (target.format !== "raw") throw new AppError("not_supported", "blank disks are raw");
    if (!this.#disks.has(target.id)) this.#disks.set(target.id, this.#blank(target, target.virtualSizeBytes));
  }

  async receive(target: NewDisk, { signal }: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(signal);
    this.#forgetPartial(target.id);
    const disk = this.#blank(target, 0);
    this.#partial.set(target.id, disk);
    const forget = () => {
      if (this.#partial.get(target.id) === disk) this.#forgetPartial(target.id);
    };
    return {
      concurrency: 4,
      write: async (block, offsetBytes) => {
        throwIfCancelled(signal);
        if (this.#partial.get(target.id) !== disk) throw new AppError("cancelled", "it was given up");
        for (const { start, end } of dataRuns(block, CHUNK_BYTES)) disk.bytes.write(block.subarray(start, end), offsetBytes + start);
      },
      finish: async (sizeBytes) => {
        if (signal?.aborted) forget();
        throwIfCancelled(signal);
        this.#publish(target.id, { ...disk, sizeBytes });
      },
      abort: async () => forget(),
    };
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    const disk = this.#findAt(source);
    if (range.end > disk.sizeBytes) {
      throw new AppError("disk_not_found", `it ends at byte ${disk.sizeBytes}, not ${range.end}`);
    }
    for (let offset = range.start; offset < range.end; ) {
      throwIfCancelled(signal);
      const part = this.#at(disk, offset).subarray(0, range.end - offset);
      yield part;
      offset += part.length;
    }
  }

  async clone(source: StoredRef, target: NewDisk, { signal }: WorkOptions = {}): Promise<Lineage> {
    throwIfCancelled(signal);
    requireSameFormat(source, target);
    const present = this.#disks.get(target.id);
    if (present) return { target: present.parent };
    const made = this.#offspring(this.#findAt(source), source.id, target);
    this.#disks.set(target.id, made);
    return { target: made.parent };
  }

  async snapshot(source: StoredRef, target: NewDisk, { signal }: WorkOptions = {}): Promise<Lineage> {
    throwIfCancelled(signal);
    if (source.format !== "raw") throw new AppError("not_supported", "only raw disks have snapshots");
    if (this.can.clone === "independent") return this.clone(source, target);
    const frozen = this.#disks.get(target.id) ?? this.#find(source.id);
    if (!this.#disks.has(target.id)) {
      this.#disks.set(target.id, frozen);
      this.#disks.set(source.id, this.#offspring(frozen, target.id, source));
    }
    return { target: frozen.parent, source: target.id };
  }

  async copy(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<void> {
    if (this.#disks.has(target.id)) return;
    requireSameFormat(source, target);
    const writer = await this.receive(target, options);
    try {
      await this.#pour(source, (block, offset) => writer.write(block, offset), options);
      await writer.finish(target.format === "raw" ? target.virtualSizeBytes : this.#findAt(source).sizeBytes);
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  async fill(): Promise<void> {
    throw new AppError("not_supported", this.can.why.addressable as string);
  }

  async resize(ref: StoredRef, virtualSizeBytes: number, { signal }: WorkOptions = {}): Promise<void> {
    throwIfCancelled(signal);
    if (ref.format !== "raw") throw new AppError("not_supported", "only raw disks grow");
    const disk = this.#find(ref.id);
    disk.sizeBytes = Math.max(disk.sizeBytes, virtualSizeBytes);
  }

  async flatten(ref: StoredRef, options: WorkOptions = {}): Promise<void> {
    const disk = this.#find(ref.id);
    if (!disk.parent) return;
    const flat: MemoryDisk = { ...disk, bytes: new SparseBytes(this.#space), parent: undefined };
    try {
      await this.#pour(ref, (block, offset) => flat.bytes.write(block, offset), options);
    } catch (error) {
      flat.bytes.release();
      throw error;
    }
    this.#publish(ref.id, flat);
  }

  async delete(id: DiskId): Promise<void> {
    this.#forgetPartial(id);
    this.#disks.get(id)?.bytes.release();
    this.#disks.delete(id);
  }

  async open(): Promise<BlockNode> {
    throw new AppError("not_supported", this.can.why.addressable as string);
  }

  async dedup({ signal, onProgress, onDone }: DedupOptions = {}): Promise<void> {
    const disks = [...this.#disks.values()];
    const known = new Map<string, Chunk>();
    for (const [index, { bytes }] of disks.entries()) {
      throwIfCancelled(signal);
      onDone?.({ bytesRead: bytes.allocatedBytes, bytesShared: bytes.dedup(known) });
      onProgress?.((index + 1) / disks.length);
      await nextTurn();
    }
    throwIfCancelled(signal);
  }

  async measureSpace({ signal }: WorkOptions = {}): Promise<SharedSpace> {
    throwIfCancelled(signal);
    const chunks = new Set<Chunk>();
    let [allocatedBytes, sharedBytes] = [0, 0];
    for (const { bytes } of this.#disks.values()) {
      allocatedBytes += bytes.allocatedBytes;
      bytes.forEach((chunk) => {
        chunks.add(chunk);
        if (chunk.shares > 1) sharedBytes += CHUNK_BYTES;
      });
    }
    return { allocatedBytes, sharedBytes, physicalBytes: chunks.size * CHUNK_BYTES };
  }

  changes(from: StoredRef, to: StoredRef, range: ByteRange, options: WorkOptions = {}): AsyncIterable<ByteRange> {
    return joined(this.#changes(from, to, range, options));
  }

  async *#changes(from: StoredRef, to: StoredRef, range: ByteRange, { signal }: WorkOptions): AsyncIterable<ByteRange> {
    const [older, newer] = [this.#findAt(from), this.#findAt(to)];
    if (from.format !== "raw" || to.format !== "raw") throw new AppError("not_supported", "what has changed is known of raw disks only");
    const end = Math.min(range.end, newer.sizeBytes);
    for (let start = range.start; start < end; ) {
      throwIfCancelled(signal);
      const [before, now] = [this.#at(older, start), this.#at(newer, start)];
      const next = Math.min(end, start + Math.min(before.length, now.length));
      if (before.buffer !== now.buffer || before.byteOffset !== now.byteOffset) yield { start, end: next };
      start = next;
      if (start % TURN_BYTES === 0) await nextTurn();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disks.clear();
    this.#partial.clear();
  }

  #find(id: DiskId): MemoryDisk {
    const disk = this.#disks.get(id);
    if (!disk) throw new AppError("disk_not_found", `there is no disk ${id}`);
    return disk;
  }

  #findAt({ id, location }: Pick<StoredRef, "id" | "location">): MemoryDisk {
    if (location === undefined) return this.#find(id);
    const [index, at] = location.slice(this.can.place.length + 1).split("/");
    const pool = location.startsWith(`${this.can.place}/`) ? this.#neighbours[Number(index)] : undefined;
    const disk = pool === undefined ? undefined : pool.#disks.get(at as DiskId);
    if (!disk) throw new AppError("disk_not_found", `there is no disk at ${location}`);
    return disk;
  }

  /** A disk reads through its parent whichever pool that lies in. */
  #findInPlace(id: DiskId): MemoryDisk {
    const disk = this.#neighbours.map((pool) => pool.#disks.get(id)).find((found) => found !== undefined);
    if (!disk) throw new AppError("disk_not_found", `there is no disk ${id}`);
    return disk;
  }

  #blank({ format }: NewDisk, sizeBytes: number): MemoryDisk {
    return { format, sizeBytes, bytes: new SparseBytes(this.#space), parent: undefined };
  }

  /** A new disk with the content of another: by sharing its chunks, or by reading through it. */
  #offspring(parent: MemoryDisk, parentId: DiskId, target: NewDisk): MemoryDisk {
    const sizeBytes = Math.max(parent.sizeBytes, target.format === "raw" ? target.virtualSizeBytes : 0);
    if (this.can.clone === "dependent") return { ...this.#blank(target, sizeBytes), parent: parentId };
    return { ...parent, sizeBytes, bytes: parent.bytes.share() };
  }

  /** The bytes from `offset` on that lie together; at most as many as one block of zeroes has. */
  #at(disk: MemoryDisk, offset: number): Uint8Array {
    const own = disk.bytes.at(offset);
    if (own) return own;
    const parent = disk.parent === undefined ? undefined : this.#findInPlace(disk.parent);
    if (!parent || offset >= parent.sizeBytes) return ZEROES.subarray(0, CHUNK_BYTES - (offset % CHUNK_BYTES));
    return this.#at(parent, offset).subarray(0, parent.sizeBytes - offset);
  }

  /** Gives every part of the source's content that is not zero, and the event loop its turn. */
  async #pour(source: StoredRef, write: (block: Uint8Array, offset: number) => unknown, options: WorkOptions): Promise<void> {
    const { sizeBytes } = this.#findAt(source);
    let offset = 0;
    for await (const block of this.read(source, { start: 0, end: sizeBytes }, options)) {
      if (!isZero(block)) await write(block, offset);
      offset += block.length;
      if (offset % TURN_BYTES === 0) await nextTurn();
      options.onProgress?.(offset / sizeBytes);
    }
    throwIfCancelled(options.signal);
  }

  #publish(id: DiskId, disk: MemoryDisk): void {
    this.#partial.delete(id);
    this.#disks.get(id)?.bytes.release();
    this.#disks.set(id, disk);
  }

  #forgetPartial(id: DiskId): void {
    this.#partial.get(id)?.bytes.release();
    this.#partial.delete(id);
  }
}

interface MemoryDisk {
  readonly format: DiskFormat;
  sizeBytes: number;
  readonly bytes: SparseBytes;
  readonly parent: DiskId | undefined;
}

/** Copying this much takes about a millisecond. */
const TURN_BYTES = 16 * CHUNK_BYTES;

function requireSameFormat(source: StoredRef, target: NewDisk): void {
  if (source.format === target.format) return;
  throw new AppError("not_supported", `a ${source.format} disk is not ${target.format} by copying it`);
}

function stored(id: DiskId, { sizeBytes, bytes, parent }: MemoryDisk): StoredDisk {
  return { id, sizeBytes, allocatedBytes: bytes.allocatedBytes, parent };
}

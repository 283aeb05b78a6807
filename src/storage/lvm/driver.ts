import type { LvmConfig } from "#/config/pools/lvm.ts";
import { type BlockNode, formatNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import type {
  ByteRange,
  Capabilities,
  Capacity,
  DiskWriter,
  Lineage,
  NewDisk,
  StorageDriver,
  StoredDisk,
  StoredRef,
  WorkOptions,
} from "#/storage/driver.ts";
import { tellingErrors } from "#/storage/file/errors.ts";
import { capabilitiesOf } from "#/storage/lvm/capabilities.ts";
import { clearTail, wholeSectors, zero } from "#/storage/lvm/device.ts";
import { DiskGroup } from "#/storage/lvm/group.ts";
import { type DiskVolume, locationOf, parseLocation, SECTOR_BYTES } from "#/storage/lvm/layout.ts";
import { VolumeReader } from "#/storage/lvm/reader.ts";
import { VolumeWriter } from "#/storage/lvm/writer.ts";
import { Lvm } from "#/tools/lvm.ts";
import * as qemuImg from "#/tools/qemu-img.ts";

/** What a stream begins with whose length its format does not say. */
const UNKNOWN_BYTES = 64 * MiB;

/**
 * Disks as logical volumes (`layout.ts`). In a thin pool, a clone or snapshot is a thin snapshot: it shares blocks with its
 * source, and outlives it. Thick volumes share nothing, and are zeroed before anybody can read them.
 *
 * Calls of LVM's per method, where nothing is in the way: stat, list, open, capacity, flatten 1; read 0 once the disk is known; create 2
 * (thick 3), clone and snapshot 2 (3 where larger), receive and fill 3, resize 3, delete 2 (3 where something is to be cleared).
 */
export class LvmDriver implements StorageDriver {
  readonly kind = "lvm";
  readonly can: Capabilities;
  readonly #group: DiskGroup;
  readonly #reader: VolumeReader;
  /** Those of this process that have a volume open. */
  readonly #writers = new Map<DiskId, VolumeWriter>();

  private constructor(group: DiskGroup) {
    this.#group = group;
    this.#reader = new VolumeReader(group);
    this.can = capabilitiesOf(group);
  }

  /** Opens a volume group; `isNew`: a thin pool that is missing is made. Errors: `pool_unavailable`, `pool_full`. */
  static async open(config: LvmConfig, { isNew }: { readonly isNew: boolean }): Promise<LvmDriver> {
    return new LvmDriver(await DiskGroup.open(new Lvm(config.volumeGroup, config.confPath), config, isNew));
  }

  async capacity(): Promise<Capacity> {
    return this.#group.capacity();
  }

  async *list(): AsyncIterable<StoredDisk> {
    for (const disk of await this.#group.list()) yield this.#group.stored(disk);
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    const at = location === undefined ? id : parseLocation(this.#group.lvm.group, location);
    const disk = at && (await this.#group.look(at)).disk(at);
    return disk?.whole ? { ...this.#group.stored(disk), id } : undefined;
  }

  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? locationOf(this.#group.lvm.group, id);
  }

  async create(target: NewDisk, options: WorkOptions = {}): Promise<void> {
    if (target.format !== "raw") throw new AppError("not_supported", "blank disks are raw");
    await this.#unlessThere(target.id, options, async () => {
      const { id, virtualSizeBytes } = target;
      if (this.#group.pool) await this.#group.make(id, virtualSizeBytes, virtualSizeBytes);
      else await this.#build(target, virtualSizeBytes, async (disk) => this.#blank(disk, virtualSizeBytes, options), options);
    });
  }

  async receive(target: NewDisk, options: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(options.signal);
    await this.#writers.get(target.id)?.desert();
    this.#reader.forget(target.id);
    const look = await this.#group.look(target.id);
    const old = look.disk(target.id);
    if (old) await this.#group.remove(old, { signal: options.signal });
    look.requireRoom();
    const disk = await this.#group.make(target.id, isPlain(target.format) ? target.virtualSizeBytes : UNKNOWN_BYTES);
    return this.#write(disk, options);
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    yield* this.#reader.read(this.#idOf(source), range, signal);
  }

  async clone(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<Lineage> {
    if (!this.#group.pool) throw new AppError("not_supported", this.can.why.clone ?? "");
    if (source.format !== target.format) throw new AppError("not_supported", `a ${source.format} disk is not ${target.format} by cloning it`);
    const from = this.#idOf(source);
    throwIfCancelled(options.signal);
    const look = await this.#group.look(from, target.id);
    const disk = wholeOrThrow(look.disk(from), from);
    const there = look.disk(target.id);
    if (there?.whole) return { target: undefined };
    throwIfCancelled(options.signal);
    if (there) await this.#group.remove(there, { signal: options.signal });
    look.requireRoom();
    await this.#clone(disk, target);
    return { target: undefined };
  }

  async snapshot(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<Lineage> {
    if (!this.#group.pool) throw new AppError("not_supported", this.can.why.snapshot ?? "");
    if (source.format !== "raw") throw new AppError("not_supported", "only raw disks have snapshots");
    return this.clone(source, target, options);
  }

  async copy(): Promise<void> {
    throw new AppError("not_supported", this.can.why.offloadCopy ?? "");
  }

  async fill(target: NewDisk, fill: (node: BlockNode) => Promise<void>, options: WorkOptions = {}): Promise<void> {
    if (!this.can.fills?.includes(target.format)) throw new AppError("not_supported", this.can.why.fills ?? "");
    const { virtualSizeBytes } = target;
    const plain = target.format !== "qcow2";
    const work = async (disk: DiskVolume) => {
      if (!this.#group.pool) await zero(this.#group.path(disk), [{ start: 0, end: disk.volumeBytes }], { signal: options.signal });
      const node = this.#node(disk, plain ? { format: "raw", sizeBytes: virtualSizeBytes } : { format: target.format });
      await fill(node);
      return plain ? virtualSizeBytes : await qemuImg.endOf(node, options);
    };
    const volumeBytes = plain ? virtualSizeBytes : qcow2BytesMax(virtualSizeBytes);
    await this.#unlessThere(target.id, options, () => this.#build(target, volumeBytes, work, options));
  }

  async resize(ref: StoredRef, virtualSizeBytes: number, options: WorkOptions = {}): Promise<void> {
    throwIfCancelled(options.signal);
    if (ref.format !== "raw") throw new AppError("not_supported", "only raw disks grow");
    const look = await this.#group.look(ref.id);
    const disk = wholeOrThrow(look.disk(ref.id), ref.id);
    if (disk.sizeBytes >= virtualSizeBytes) return;
    look.requireRoom();
    await this.#group.awaken(disk);
    await tellingErrors(() => this.#grow(disk, virtualSizeBytes, options));
  }

  /** Nothing here reads through another. */
  async flatten(ref: StoredRef): Promise<void> {
    wholeOrThrow((await this.#group.look(ref.id)).disk(ref.id), ref.id);
  }

  async delete(id: DiskId, options: WorkOptions = {}): Promise<void> {
    const disk = (await this.#group.look(id)).disk(id);
    this.#reader.forget(id);
    if (disk) await tellingErrors(() => this.#group.remove(disk, options));
  }

  async open(ref: StoredRef, _mode: "read" | "write"): Promise<BlockNode> {
    const id = this.#idOf(ref);
    const disk = wholeOrThrow((await this.#group.look(id)).disk(id), id);
    await this.#group.awaken(disk);
    return this.#node(disk, { format: ref.format, sizeBytes: disk.sizeBytes });
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #idOf({ id, location }: StoredRef): DiskId {
    if (location === undefined) return id;
    const at = parseLocation(this.#group.lvm.group, location);
    if (!at) throw new AppError("disk_not_found", `${location} is no disk of this volume group`);
    return at;
  }

  /** With a size, the node ends where the content does, to the sector. */
  #node(disk: DiskVolume, { format, sizeBytes }: { readonly format: DiskFormat; readonly sizeBytes?: number }): BlockNode {
    const device: BlockNode = { driver: "host_device", filename: this.#group.path(disk) };
    if (sizeBytes === undefined) return formatNode(device, format);
    const content: BlockNode = { driver: "raw", file: device, size: wholeSectors(sizeBytes) };
    return isPlain(format) && format !== "luks" ? content : formatNode(content, format);
  }

  /** Making what is there succeeds, and changes nothing; what is only partial goes first. */
  async #unlessThere(id: DiskId, { signal }: WorkOptions, make: () => Promise<void>): Promise<void> {
    throwIfCancelled(signal);
    const look = await this.#group.look(id);
    const there = look.disk(id);
    if (there?.whole) return;
    if (there) await tellingErrors(() => this.#group.remove(there, { signal }));
    look.requireRoom();
    await tellingErrors(make);
  }

  /** Makes a volume and has it filled; the disk is as long as `work` says, and nothing is left where it fails. */
  async #build({ id }: NewDisk, volumeBytes: number, work: (disk: DiskVolume) => Promise<number>, { signal }: WorkOptions): Promise<void> {
    const disk = await this.#group.make(id, volumeBytes);
    try {
      const sizeBytes = await work(disk);
      throwIfCancelled(signal);
      await this.#group.publish(await this.#group.shrink(disk, sizeBytes), sizeBytes);
    } catch (error) {
      await this.#removeQuietly(disk);
      throw error;
    }
  }

  async #blank(disk: DiskVolume, sizeBytes: number, options: WorkOptions): Promise<number> {
    await zero(this.#group.path(disk), [{ start: 0, end: disk.volumeBytes }], options);
    return sizeBytes;
  }

  async #write(disk: DiskVolume, { signal }: WorkOptions): Promise<DiskWriter> {
    try {
      const writer = await tellingErrors(() => VolumeWriter.open(this.#group, disk, signal));
      this.#writers.set(disk.id, writer);
      return this.#forgotten(disk.id, writer);
    } catch (error) {
      await this.#removeQuietly(disk);
      throw error;
    }
  }

  /** The writer, off the list once it has ended. */
  #forgotten(id: DiskId, writer: VolumeWriter): DiskWriter {
    const forget = () => {
      if (this.#writers.get(id) === writer) this.#writers.delete(id);
    };
    return {
      concurrency: writer.concurrency,
      write: (block, offset) => writer.write(block, offset),
      finish: (sizeBytes) => writer.finish(sizeBytes).finally(forget),
      abort: () => writer.abort().finally(forget),
    };
  }

  /** Without an odd end to clear, the tags alone say when the clone is whole. */
  async #clone(source: DiskVolume, target: NewDisk): Promise<void> {
    const sizeBytes = target.format === "raw" ? Math.max(source.sizeBytes, target.virtualSizeBytes) : source.sizeBytes;
    const isOdd = sizeBytes > source.sizeBytes && source.sizeBytes % SECTOR_BYTES !== 0;
    const clone = await this.#group.clone(source, target.id, isOdd ? undefined : sizeBytes);
    try {
      if (isOdd) await clearTail(this.#group.path(clone), source.sizeBytes);
      const grown = await this.#group.grow(clone, sizeBytes);
      if (isOdd) await this.#group.publish(grown, sizeBytes);
    } catch (error) {
      await this.#removeQuietly(clone);
      throw error;
    }
  }

  /** The new size counts last: until then, the content is the old one. */
  async #grow(disk: DiskVolume, sizeBytes: number, options: WorkOptions): Promise<void> {
    const path = this.#group.path(disk);
    const grown = await this.#group.grow(disk, sizeBytes);
    try {
      await clearTail(path, disk.sizeBytes);
      if (!this.#group.pool) await zero(path, [{ start: wholeSectors(disk.sizeBytes), end: grown.volumeBytes }], options);
      await this.#group.publish(grown, sizeBytes);
    } catch (error) {
      await this.#group.shrink(grown, disk.volumeBytes).catch(() => {}); // It takes space that nobody sees; the next resize uses it.
      throw error;
    }
  }

  /** What stays is partial work, and the audit finds it: the first error says more. */
  async #removeQuietly(disk: DiskVolume): Promise<void> {
    await this.#group.remove(disk).catch(() => {});
  }
}

function wholeOrThrow(disk: DiskVolume | undefined, id: DiskId): DiskVolume {
  if (!disk?.whole) throw new AppError("disk_not_found", `disk ${id} is not there`);
  return disk;
}

/** Formats whose bytes are the disk itself. */
function isPlain(format: DiskFormat): boolean {
  return format === "raw" || format === "iso" || format === "luks";
}

/** A full qcow2 file with clusters of 64 KiB: two tables of 8 and 2 bytes per cluster and their own tables, headers; with room to spare. */
function qcow2BytesMax(virtualSizeBytes: number): number {
  return virtualSizeBytes + Math.ceil(virtualSizeBytes / 4096) + 4 * MiB;
}

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
import { isTaken, Lvm } from "#/tools/lvm.ts";
import * as qemuImg from "#/tools/qemu-img.ts";

/** What a stream begins with whose length its format does not say. */
const UNKNOWN_BYTES = 64 * MiB;

/**
 * Disks as logical volumes (`layout.ts`). In a thin pool, a clone or snapshot is a thin snapshot: it shares blocks with its
 * source, and outlives it. Thick volumes share nothing, and are zeroed before anybody can read them.
 *
 * Calls of LVM's per method, where nothing is in the way: stat, list, open, capacity, flatten 1; read 0 once the disk is known;
 * create 1 (thick 2); receive and fill 2; clone and snapshot 2 (3 where larger); resize 3; delete 2 (3 where something is to be cleared).
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
    const [disk] = at ? await this.#group.look(at) : [];
    if (!disk?.whole) return undefined;
    this.#reader.remember(disk.id, disk.sizeBytes);
    return { ...this.#group.stored(disk), id };
  }

  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? locationOf(this.#group.lvm.group, id);
  }

  async create(target: NewDisk, options: WorkOptions = {}): Promise<void> {
    if (target.format !== "raw") throw new AppError("not_supported", "blank disks are raw");
    const { id, virtualSizeBytes } = target;
    if (this.#group.pool) await this.#claim(id, () => this.#group.make(id, virtualSizeBytes, virtualSizeBytes), options);
    else await this.#build(id, virtualSizeBytes, (disk) => this.#blank(disk, virtualSizeBytes, options), { ...options, written: [] });
  }

  async receive(target: NewDisk, options: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(options.signal);
    await this.#writers.get(target.id)?.desert();
    this.#reader.forget(target.id);
    const volumeBytes = isPlain(target.format) ? target.virtualSizeBytes : UNKNOWN_BYTES;
    const make = () => this.#group.make(target.id, volumeBytes);
    const disk = await this.#claim(target.id, make, { ...options, replace: true });
    return this.#write(disk as DiskVolume, options);
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    yield* this.#reader.read(this.#idOf(source), range, signal);
  }

  async clone(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<Lineage> {
    if (!this.#group.pool) throw new AppError("not_supported", this.can.why.clone ?? "");
    if (source.format !== target.format) throw new AppError("not_supported", `a ${source.format} disk is not ${target.format} by cloning it`);
    const from = this.#idOf(source);
    throwIfCancelled(options.signal);
    const disk = wholeOrThrow((await this.#group.look(from))[0], from);
    await tellingErrors(() => this.#clone(disk, target, options));
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
      if (!this.#group.pool) await this.#blank(disk, 0, { signal: options.signal });
      const node = this.#node(disk, plain ? { format: "raw", sizeBytes: virtualSizeBytes } : { format: target.format });
      await fill(node);
      return plain ? virtualSizeBytes : await qemuImg.endOf(node, options);
    };
    const volumeBytes = plain ? virtualSizeBytes : qcow2BytesMax(virtualSizeBytes);
    await this.#build(target.id, volumeBytes, work, options);
  }

  async resize(ref: StoredRef, virtualSizeBytes: number, options: WorkOptions = {}): Promise<void> {
    throwIfCancelled(options.signal);
    if (ref.format !== "raw") throw new AppError("not_supported", "only raw disks grow");
    const disk = wholeOrThrow((await this.#group.look(ref.id))[0], ref.id);
    if (disk.sizeBytes >= virtualSizeBytes) return;
    await this.#group.requireRoom();
    await this.#group.awaken(disk);
    await tellingErrors(() => this.#grow(disk, virtualSizeBytes, options));
  }

  /** Nothing here reads through another. */
  async flatten(ref: StoredRef): Promise<void> {
    wholeOrThrow((await this.#group.look(ref.id))[0], ref.id);
  }

  async delete(id: DiskId, options: WorkOptions = {}): Promise<void> {
    const [disk] = await this.#group.look(id);
    this.#reader.forget(id);
    if (disk) await tellingErrors(() => this.#group.remove(disk, options));
  }

  async open(ref: StoredRef, _mode: "read" | "write"): Promise<BlockNode> {
    const id = this.#idOf(ref);
    const disk = wholeOrThrow((await this.#group.look(id))[0], id);
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

  /** With a size, the node ends where the content does, to the sector. Where the device ends there too nothing is said: what has a size of its own cannot grow under a guest (block/raw-format.c). */
  #node(disk: DiskVolume, { format, sizeBytes = disk.volumeBytes }: { readonly format: DiskFormat; readonly sizeBytes?: number }): BlockNode {
    const device: BlockNode = { driver: "host_device", filename: this.#group.path(disk) };
    if (wholeSectors(sizeBytes) === disk.volumeBytes) return formatNode(device, format);
    const content: BlockNode = { driver: "raw", file: device, size: wholeSectors(sizeBytes) };
    return isPlain(format) && format !== "luks" ? content : formatNode(content, format);
  }

  /**
   * Has the volume of a new disk made. What is partial under its id goes first; what is whole goes only to be replaced, otherwise it
   * stays, and the answer is undefined: making what is there succeeds, also in a full pool.
   */
  async #claim(id: DiskId, make: () => Promise<DiskVolume>, { signal, replace = false }: WorkOptions & { replace?: boolean }) {
    throwIfCancelled(signal);
    const attempt = async () => {
      await this.#group.requireRoom();
      return make();
    };
    return await attempt().catch(async (error: unknown) => {
      const mayBeThere = isTaken(error) || (error instanceof AppError && error.code === "pool_full");
      const [there] = mayBeThere ? await this.#group.look(id) : [];
      if (!there) throw error; // A volume of that name without our tag is somebody else's.
      if (there.whole && !replace && (await this.#group.works(there))) return undefined;
      await tellingErrors(() => this.#group.remove(there, { signal }));
      return attempt();
    });
  }

  /** Makes a volume and has it filled; the disk is as long as `work` says, and nothing is left where it fails. */
  async #build(id: DiskId, volumeBytes: number, work: (disk: DiskVolume) => Promise<number>, { signal, written }: Undo): Promise<void> {
    const disk = await this.#claim(id, () => this.#group.make(id, volumeBytes), { signal });
    if (!disk) return;
    try {
      const sizeBytes = await tellingErrors(() => work(disk));
      throwIfCancelled(signal);
      await this.#group.publish(await this.#group.shrink(disk, sizeBytes), sizeBytes);
    } catch (error) {
      await this.#removeQuietly(disk, written);
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
      await this.#removeQuietly(disk, []);
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
  async #clone(source: DiskVolume, target: NewDisk, options: WorkOptions): Promise<void> {
    const sizeBytes = target.format === "raw" ? Math.max(source.sizeBytes, target.virtualSizeBytes) : source.sizeBytes;
    const isOdd = sizeBytes > source.sizeBytes && source.sizeBytes % SECTOR_BYTES !== 0;
    const clone = await this.#claim(target.id, () => this.#group.clone(source, target.id, isOdd ? undefined : sizeBytes), options);
    if (!clone) return;
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
  async #removeQuietly(disk: DiskVolume, written?: readonly ByteRange[]): Promise<void> {
    await this.#group.remove(disk, { ...(written && { written }) }).catch(() => {});
  }
}

interface Undo extends Pick<WorkOptions, "signal"> {
  /** What must be overwritten before a failed attempt is removed, where that is known. */
  readonly written?: readonly ByteRange[];
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

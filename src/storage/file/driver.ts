import { constants } from "node:fs";
import { copyFile, statfs } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type BlockNode, fileNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
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
import { capabilitiesOf } from "#/storage/file/capabilities.ts";
import { changedExtents, changedLayers } from "#/storage/file/changes.ts";
import { copyInside } from "#/storage/file/copy.ts";
import { dedupFiles } from "#/storage/file/dedup.ts";
import { asStorageError, tellingErrors } from "#/storage/file/errors.ts";
import { createAnew, growTo, setLength, sync } from "#/storage/file/files.ts";
import { DiskFolder, type LocatedDisk } from "#/storage/file/folder.ts";
import { freeze } from "#/storage/file/freeze.ts";
import { fileName } from "#/storage/file/names.ts";
import { type FolderFacts, probeFolder } from "#/storage/file/probe.ts";
import { readFile } from "#/storage/file/reader.ts";
import { measureFiles } from "#/storage/file/space.ts";
import { FileWriter } from "#/storage/file/writer.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { readNode } from "#/storage/read-ahead.ts";

/**
 * Disks as files in a folder (`names.ts` says how they are called).
 *
 * Where the file system shares blocks between files (XFS, btrfs), a clone is a reflink and stands alone. Elsewhere a clone
 * is an overlay: a qcow2 file that holds what was written since and reads the rest through its parent, found by its id. A
 * disk changes from one kind to the other in two places, and both leave, for a moment, both files of the disk. The overlay
 * counts then:
 * - `flatten()`: the flat file has its name already, and the overlay is removed next. Both hold the same.
 * - `snapshot()`: the overlay has its name already, and the flat file, which is the snapshot's now, is removed next.
 */
export class FileDriver implements StorageDriver {
  readonly kind = "file";
  readonly can: Capabilities;
  readonly #folder: DiskFolder;
  readonly #facts: FolderFacts;

  private constructor(folder: DiskFolder, facts: FolderFacts) {
    this.#folder = folder;
    this.#facts = facts;
    this.can = capabilitiesOf(facts);
  }

  /** Opens a pool in an existing folder and finds out what its file system can do. Errors: `pool_unavailable`, `pool_full`. */
  static open(directory: string): Promise<FileDriver> {
    const path = resolve(directory);
    return tellingErrors(async () => new FileDriver(await DiskFolder.open(path), await probeFolder(path)));
  }

  async capacity(): Promise<Capacity> {
    return tellingErrors(async () => {
      await this.#folder.assertPresent();
      const { blocks, bavail, bsize } = await statfs(this.#folder.directory);
      return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
    });
  }

  async *list(): AsyncIterable<StoredDisk> {
    try {
      await this.#folder.assertPresent();
      for await (const disk of this.#folder.list()) yield stored(disk);
    } catch (error) {
      throw asStorageError(error);
    }
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    return tellingErrors(async () => {
      const disk = location === undefined ? await this.#folder.locate(id) : await this.#folder.findAt(id, location);
      return disk && stored(disk);
    });
  }

  /** Where clones are reflinks every disk is a flat file; overlays are not for other pools. */
  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? pathToFileURL(this.#folder.path(id, "disk")).href;
  }

  async create(target: NewDisk, { signal }: WorkOptions = {}): Promise<void> {
    if (target.format !== "raw") throw new AppError("not_supported", "blank disks are raw");
    return this.#unlessThere(target.id, () => this.#make(target, (path) => growTo(path, target.virtualSizeBytes), signal));
  }

  async receive(target: NewDisk, { signal }: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(signal);
    return tellingErrors(async () => {
      await this.#folder.assertPresent();
      const path = this.#folder.path(target.id, "partial");
      await createAnew(path);
      const publish = () => this.#publishFlat(target.id);
      return FileWriter.open(path, { direct: this.#facts.direct.works, publish, signal });
    });
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    try {
      yield* this.#read(source, range, signal);
    } catch (error) {
      throw asStorageError(error);
    }
  }

  async clone(source: StoredRef, target: NewDisk, { signal }: WorkOptions = {}): Promise<Lineage> {
    throwIfCancelled(signal);
    requireSameFormat(source, target);
    return tellingErrors(async () => {
      const disk = await this.#find(source);
      await this.#unlessThere(target.id, () => this.#clone(disk, target, signal));
      return { target: (await this.#folder.find(target.id)).parent };
    });
  }

  async snapshot(source: StoredRef, target: NewDisk, { signal }: WorkOptions = {}): Promise<Lineage> {
    throwIfCancelled(signal);
    if (source.format !== "raw") throw new AppError("not_supported", "only raw disks have snapshots");
    return tellingErrors(async () => {
      const disk = await this.#folder.find(source.id);
      if (this.can.clone === "independent" || !fitsOverlay(disk.sizeBytes)) return this.clone(source, target, { signal });
      return freeze(this.#folder, disk, target.id);
    });
  }

  async copy(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<void> {
    requireSameFormat(source, target);
    return this.#unlessThere(target.id, async () => this.#copy(await this.#find(source), target, options));
  }

  async fill(target: NewDisk, fill: (node: BlockNode) => Promise<void>, { signal }: WorkOptions = {}): Promise<void> {
    const isRaw = target.format === "raw" || target.format === "iso";
    return this.#unlessThere(target.id, () =>
      this.#make(
        target,
        async (path) => {
          if (isRaw) await growTo(path, target.virtualSizeBytes);
          await fill(fileNode(path, target.format));
          if (isRaw) await setLength(path, target.virtualSizeBytes); // QEMU rounds up to 512 bytes.
        },
        signal,
      ),
    );
  }

  async resize(ref: StoredRef, virtualSizeBytes: number, { signal }: WorkOptions = {}): Promise<void> {
    throwIfCancelled(signal);
    if (ref.format !== "raw") throw new AppError("not_supported", "only raw disks grow");
    return tellingErrors(async () => this.#grow(await this.#folder.find(ref.id), virtualSizeBytes, signal));
  }

  async flatten(ref: StoredRef, options: WorkOptions = {}): Promise<void> {
    return tellingErrors(async () => {
      const disk = await this.#folder.find(ref.id);
      if (disk.suffix === "overlay") await this.#flatten(disk, options);
    });
  }

  async delete(id: DiskId): Promise<void> {
    return tellingErrors(() => this.#folder.remove(id, ["disk", "overlay", "partial"]));
  }

  async open(ref: StoredRef, _mode: "read" | "write"): Promise<BlockNode> {
    return tellingErrors(async () => this.#folder.node(await this.#find(ref), ref.format));
  }

  async dedup(options: DedupOptions = {}): Promise<void> {
    throwIfCancelled(options.signal);
    return tellingErrors(async () => {
      this.#requireDedup();
      await dedupFiles(await this.#files(options.order), options);
    });
  }

  async measureSpace(options: WorkOptions = {}): Promise<SharedSpace> {
    throwIfCancelled(options.signal);
    return tellingErrors(async () => {
      this.#requireDedup();
      const paths = (await this.#files()).map(({ path }) => path);
      return measureFiles(paths, (await this.capacity()).totalBytes, options);
    });
  }

  async *changes(from: StoredRef, to: StoredRef, range: ByteRange, options: WorkOptions = {}): AsyncIterable<ByteRange> {
    try {
      if (!this.can.changes) throw new AppError("not_supported", this.can.why.changes ?? "its file system does not tell");
      if (!isPlain(from) || !isPlain(to)) throw new AppError("not_supported", "what has changed is known of raw disks only");
      const [before, now] = [await this.#find(from), await this.#find(to)];
      const areFlat = before.suffix === "disk" && now.suffix === "disk";
      if (areFlat && this.can.changes === "extents") yield* changedExtents(before, now, range, options);
      else yield* changedLayers(this.#folder, before, now, range, options);
    } catch (error) {
      throw asStorageError(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #requireDedup(): void {
    if (!this.can.dedup) throw new AppError("not_supported", this.can.why.dedup ?? "its file system cannot share blocks");
  }

  /** The files of whole disks: those in `order` first, the others by size, since alike ones are of one size. */
  async #files(order: readonly DiskId[] = []): Promise<LocatedDisk[]> {
    const located = new Map<DiskId, LocatedDisk>();
    for await (const { id, partial } of this.#folder.list()) {
      const disk = partial ? undefined : await this.#folder.locate(id);
      if (disk) located.set(id, disk);
    }
    const ordered = order.flatMap((id) => located.get(id) ?? []);
    for (const { id } of ordered) located.delete(id);
    return [...ordered, ...[...located.values()].toSorted((a, b) => b.sizeBytes - a.sizeBytes)];
  }

  #find({ id, location }: StoredRef): Promise<LocatedDisk> {
    return location === undefined ? this.#folder.find(id) : this.#folder.findAt(id, location);
  }

  /** Making what is there succeeds, and changes nothing. */
  #unlessThere(id: DiskId, make: () => Promise<void>): Promise<void> {
    return tellingErrors(async () => {
      if (!(await this.#folder.locate(id))) await make();
    });
  }

  #make({ id }: { readonly id: DiskId }, fill: (path: string) => Promise<void>, signal?: AbortSignal): Promise<void> {
    return this.#folder.make(id, "disk", fill, signal);
  }

  async #publishFlat(id: DiskId): Promise<void> {
    await this.#folder.publish(id, "disk");
    await this.#folder.remove(id, ["overlay"]);
  }

  async #clone(source: LocatedDisk, target: NewDisk, signal?: AbortSignal): Promise<void> {
    if (this.can.clone === "independent") return this.#reflink(source, target, signal);
    if (target.format !== "raw") throw new AppError("not_supported", `${this.can.why.clone}, and these hold only raw disks`);
    const sizeBytes = Math.max(source.sizeBytes, target.virtualSizeBytes);
    if (!fitsOverlay(sizeBytes)) return this.#copy(source, target, { signal });
    const overlay = (filename: string): qemuImg.Overlay => ({
      filename,
      virtualSizeBytes: sizeBytes,
      backingFilename: fileName(source.id, source.suffix),
      backingFormat: source.suffix === "overlay" ? "qcow2" : "raw",
    });
    return this.#folder.make(target.id, "overlay", (path) => qemuImg.createOverlay(overlay(path), { signal }), signal);
  }

  /** A pool that came from another file system may hold overlays: the reflink of one is one, with the same parent. */
  async #reflink(source: LocatedDisk, target: NewDisk, signal?: AbortSignal): Promise<void> {
    const share = async (path: string) => {
      await copyFile(source.path, path, constants.COPYFILE_FICLONE_FORCE);
      if (target.format === "raw" && source.suffix === "disk") await growTo(path, target.virtualSizeBytes);
    };
    await this.#folder.make(target.id, source.suffix, share, signal);
    if (source.suffix === "overlay") await this.#grow(await this.#folder.find(target.id), target.virtualSizeBytes, signal);
  }

  #copy(source: LocatedDisk, target: NewDisk, options: WorkOptions): Promise<void> {
    const copy = async (path: string) => {
      if (source.suffix === "overlay") await this.#pour(source, path, options);
      else await copyInside(source.path, path, options);
      if (target.format === "raw") await growTo(path, target.virtualSizeBytes);
    };
    return this.#make(target, copy, options.signal);
  }

  /** What a guest sees of an overlay, into an empty file. */
  async #pour(source: LocatedDisk, path: string, options: WorkOptions): Promise<void> {
    await growTo(path, source.sizeBytes);
    await qemuImg.convert(await this.#folder.node(source, "raw"), fileNode(path, "raw"), options);
  }

  async #grow(disk: LocatedDisk, sizeBytes: number, signal?: AbortSignal): Promise<void> {
    if (disk.sizeBytes >= sizeBytes) return;
    if (disk.suffix === "overlay" && fitsOverlay(sizeBytes))
      return qemuImg.resize(await this.#folder.node(disk, "raw"), sizeBytes, { signal });
    if (disk.suffix === "overlay") await this.#flatten(disk, { signal });
    const path = this.#folder.path(disk.id, "disk");
    await growTo(path, sizeBytes);
    await sync(path);
  }

  /** A flatten may take an overlay away between the look and the opening: then one looks again. What is open stays readable. */
  async *#read(source: StoredRef, range: ByteRange, signal: AbortSignal | undefined, isSecond = false): AsyncIterable<Uint8Array> {
    const disk = await this.#find(source);
    if (disk.suffix === "disk") return yield* readFile(disk.path, range, signal);
    let isOpen = false;
    try {
      for await (const part of readNode(await this.#folder.node(disk, source.format), range, signal)) {
        isOpen = true;
        yield part;
      }
      return;
    } catch (error) {
      if (isOpen || isSecond || signal?.aborted) throw error;
    }
    yield* this.#read(source, range, signal, true);
  }

  async #flatten(disk: LocatedDisk, options: WorkOptions): Promise<void> {
    await this.#make(disk, (path) => this.#pour(disk, path, options), options.signal);
    await this.#folder.remove(disk.id, ["overlay"]);
  }
}

/** qcow2 counts in sectors. Volumes always fit; an uploaded raw image may not, and is copied instead. */
function fitsOverlay(sizeBytes: number): boolean {
  return sizeBytes % 512 === 0;
}

/** Formats whose bytes are what a guest sees. */
function isPlain({ format }: StoredRef): boolean {
  return format === "raw" || format === "iso" || format === "luks";
}

function stored({ id, sizeBytes, allocatedBytes, parent, ...rest }: StoredDisk): StoredDisk {
  return { id, sizeBytes, allocatedBytes, parent, ...(rest.partial && { partial: true }) };
}

function requireSameFormat(source: StoredRef, target: NewDisk): void {
  if (source.format === target.format) return;
  throw new AppError("not_supported", `a ${source.format} disk is not ${target.format} by copying it`);
}

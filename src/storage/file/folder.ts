import type { Stats } from "node:fs";
import { lstat, opendir, rename, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type BlockNode, fileNode, overlayNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { StoredDisk } from "#/storage/driver.ts";
import { createAnew, removeQuietly, sync } from "#/storage/file/files.ts";
import { filePath, parseFileName, type Suffix } from "#/storage/file/names.ts";
import { readOverlayHeader } from "#/storage/file/overlay-header.ts";

/** A disk's file, and for an overlay what its header says. */
export interface LocatedDisk {
  readonly id: DiskId;
  readonly path: string;
  readonly suffix: Exclude<Suffix, "partial">;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly inode: number;
  readonly parent: DiskId | undefined;
}

/** The folder of a pool, as a place where disks are found, made whole in one step, and removed. */
export class DiskFolder {
  readonly directory: string;
  readonly #identity: string;

  private constructor(directory: string, identity: string) {
    this.directory = directory;
    this.#identity = identity;
  }

  static async open(directory: string): Promise<DiskFolder> {
    return new DiskFolder(directory, await identityOf(directory));
  }

  path(id: DiskId, suffix: Suffix): string {
    return filePath(this.directory, id, suffix);
  }

  /** The disk's file. Where both are there, the overlay counts: see `driver.ts`. */
  async locate(id: DiskId): Promise<LocatedDisk | undefined> {
    const found = (await this.#locateAs(id, "overlay")) ?? (await this.#locateAs(id, "disk"));
    if (!found) await this.assertPresent();
    return found;
  }

  async find(id: DiskId): Promise<LocatedDisk> {
    const found = await this.locate(id);
    if (!found) throw new AppError("disk_not_found", `there is no disk ${id}`);
    return found;
  }

  /** A flat file of another pool on the same file system. Errors: `disk_not_found`, `not_supported`. */
  async findAt(id: DiskId, location: string): Promise<LocatedDisk> {
    if (!location.startsWith("file:///")) throw new AppError("not_supported", `${location} is no file`);
    const path = fileURLToPath(location);
    const file = await lstatIfThere(path);
    if (!file?.isFile()) throw new AppError("disk_not_found", `there is no file ${path}`);
    return { id, path, suffix: "disk", parent: undefined, sizeBytes: file.size, allocatedBytes: file.blocks * 512, inode: file.ino };
  }

  async *list(): AsyncIterable<StoredDisk> {
    const suffixes = new Map<DiskId, Set<Suffix>>();
    for await (const { name } of await opendir(this.directory)) {
      const file = parseFileName(name);
      if (file) suffixes.set(file.id, (suffixes.get(file.id) ?? new Set()).add(file.suffix));
    }
    for (const [id, found] of suffixes) {
      const stored = found.has("overlay") || found.has("disk") ? await this.locate(id) : await this.#locatePartial(id);
      if (stored) yield stored;
    }
  }

  /**
   * Makes a disk's file: `fill` writes it aside, then it gets its name, on stable storage. Whole or not at all; a failed or
   * cancelled attempt leaves nothing.
   */
  async make(id: DiskId, suffix: LocatedDisk["suffix"], fill: (path: string) => Promise<void>, signal?: AbortSignal): Promise<void> {
    const partial = this.path(id, "partial");
    throwIfCancelled(signal);
    await this.assertPresent();
    await createAnew(partial);
    try {
      await fill(partial);
      throwIfCancelled(signal);
      await sync(partial);
      await this.publish(id, suffix);
    } catch (error) {
      await removeQuietly(partial);
      throw error;
    }
  }

  /** Gives partial work, synced, its name. */
  async publish(id: DiskId, suffix: LocatedDisk["suffix"]): Promise<void> {
    await rename(this.path(id, "partial"), this.path(id, suffix));
    await sync(this.directory); // Without it, a power cut may take the name away again.
  }

  async remove(id: DiskId, suffixes: readonly Suffix[]): Promise<void> {
    await this.assertPresent();
    for (const suffix of suffixes) await rm(this.path(id, suffix), { force: true });
    await sync(this.directory);
  }

  /** The disk's block node with every file it reads through. Each is found by its id; what a header names is never opened. */
  async node(disk: LocatedDisk, format: DiskFormat): Promise<BlockNode> {
    const [base, ...overlays] = (await this.chain(disk)).toReversed();
    const bottom = fileNode((base as LocatedDisk).path, overlays.length === 0 ? format : "raw");
    return overlays.reduce<BlockNode>((node, { path }) => overlayNode(path, node), bottom);
  }

  /** The disk, and each that it reads through. */
  async chain(disk: LocatedDisk): Promise<LocatedDisk[]> {
    const chain = [disk];
    for (let parent = disk.parent; parent !== undefined; parent = chain.at(-1)?.parent) {
      if (chain.length > DEPTH_MAX) throw new AppError("disk_not_found", `disk ${disk.id} reads through more than ${DEPTH_MAX} others`);
      chain.push(await this.find(parent));
    }
    return chain;
  }

  /** An unmounted pool leaves an empty folder behind, in which every disk seems gone: that must not be believed. */
  async assertPresent(): Promise<void> {
    if ((await identityOf(this.directory)) === this.#identity) return;
    throw new AppError("pool_unavailable", `${this.directory} is another folder than at the start: something was mounted or unmounted`);
  }

  async #locateAs(id: DiskId, suffix: LocatedDisk["suffix"]): Promise<LocatedDisk | undefined> {
    const path = this.path(id, suffix);
    const file = await lstatIfThere(path);
    if (!file?.isFile()) return undefined;
    const header = suffix === "overlay" ? await unlessMissing(() => readOverlayHeader(path)) : undefined;
    if (suffix === "overlay" && !header) return undefined; // It was flattened just now.
    return {
      ...{ id, path, suffix, parent: header?.parent },
      ...{ sizeBytes: header?.virtualSizeBytes ?? file.size, allocatedBytes: file.blocks * 512, inode: file.ino },
    };
  }

  async #locatePartial(id: DiskId): Promise<StoredDisk | undefined> {
    const file = await lstatIfThere(this.path(id, "partial"));
    return file && { id, sizeBytes: file.size, allocatedBytes: file.blocks * 512, partial: true };
  }
}

/** Far beyond any clone depth limit: only a circle of headers gets here. */
const DEPTH_MAX = 200;

async function identityOf(directory: string): Promise<string> {
  const { dev, ino } = await lstat(directory);
  return `${dev}:${ino}`;
}

function lstatIfThere(path: string): Promise<Stats | undefined> {
  return unlessMissing(() => lstat(path));
}

async function unlessMissing<Result>(look: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await look();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

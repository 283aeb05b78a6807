import { access } from "node:fs/promises";
import type { RbdConfig } from "#/config/pools/rbd.ts";
import { type BlockNode, formatNode, type RbdNode, rbdNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { GiB } from "#/lib/units.ts";
import type { ByteRange, Capabilities, Capacity, DiskWriter, Lineage, NewDisk, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { changedObjects } from "#/storage/rbd/changes.ts";
import { asRbdError, isUnreachable } from "#/storage/rbd/errors.ts";
import { type Cloned, RbdImages } from "#/storage/rbd/images.ts";
import { isWhole, padded } from "#/storage/rbd/lengths.ts";
import { storedDisks } from "#/storage/rbd/listing.ts";
import { FROZEN, isSnapshot, locationOf, parseLocation, parseName, partialImage, type RbdPlace, wholeImage } from "#/storage/rbd/names.ts";
import { Sightings } from "#/storage/rbd/sightings.ts";
import { RbdSpace } from "#/storage/rbd/space.ts";
import { Trash } from "#/storage/rbd/trash.ts";
import { RbdWriter } from "#/storage/rbd/writer.ts";
import { clusterId, keyringPaths } from "#/tools/ceph.ts";
import { type CallOptions, Rbd, type RbdAccess, type RbdImage, type RbdInfo, type RbdSnapshot, timeLimits } from "#/tools/rbd.ts";
import { checkEnd, readNode } from "#/storage/read-ahead.ts";

/**
 * Disks as images in a Ceph pool (`names.ts` says how they are called).
 *
 * A clone reads through a snapshot of its source. What never changes (an image, a cached image) gets that snapshot, `snap`, once it is whole, so
 * that a clone is one call, also for those who may only read there; any other source gets one for each clone.
 *
 * A snapshot is a clone too: of what the source held then. So it reads through the source, which goes on as it is, in place, under
 * the same name, at no cost to whoever writes to it, and can be resized or flattened. Were it the other way round, as with files,
 * a guest that has the source open would go on writing to the frozen image. The price: the source outlives its snapshots, as an
 * ancestor, and a volume of a snapshot reads through two others.
 */
export class RbdDriver implements StorageDriver {
  readonly kind = "rbd";
  readonly can: Capabilities;
  readonly #rbd: Rbd;
  readonly #place: RbdPlace;
  readonly #images: RbdImages;
  readonly #space: RbdSpace;
  readonly #trash: Trash | undefined;
  readonly #keyring: string | undefined;
  readonly #writers = new Map<DiskId, RbdWriter>();
  readonly #sightings = new Sightings();

  private constructor(rbd: Rbd, place: RbdPlace, config: RbdConfig, keyring: string | undefined) {
    const trashDelayMs = config.deferredDeletion ? config.deferredDeletionDelayMs : undefined;
    this.#rbd = rbd;
    this.#place = place;
    this.#keyring = keyring;
    this.#images = new RbdImages(rbd, place, { ...config, trashDelayMs });
    this.#space = new RbdSpace(rbd.access, place.pool);
    this.#trash = config.deferredDeletion ? new Trash(rbd, place, config.deferredDeletionPurgeIntervalMs) : undefined;
    this.can = {
      clone: "dependent",
      snapshot: true,
      snapshotReadsSource: true,
      offloadCopy: true,
      addressable: "write",
      mutable: true,
      fills: ["raw", "iso", "qcow2"],
      sparse: true,
      changes: "objects",
      place: `rbd:${place.fsid}`,
      why: {
        clone: "clones of images in Ceph read through their source, and can be flattened",
        fills: "other formats grow at each write, and Ceph takes 50 ms to make an image longer",
      },
    };
  }

  /** Opens a pool in a Ceph pool that is there. Errors: `pool_unavailable`, `pool_forbidden`. */
  static async open(config: RbdConfig): Promise<RbdDriver> {
    const rbdAccess: RbdAccess = config;
    const rbd = new Rbd(rbdAccess);
    try {
      const [fsid, keyring] = await Promise.all([clusterId(rbdAccess), findKeyring(rbdAccess), rbd.assertPool(config)]);
      return new RbdDriver(rbd, { fsid, pool: config.pool, namespace: config.namespace }, config, keyring);
    } catch (error) {
      throw asRbdError(error, config);
    }
  }

  async capacity(): Promise<Capacity> {
    return this.#telling(() => this.#space.capacity());
  }

  async *list(): AsyncIterable<StoredDisk> {
    // An image that another client is just making can make the count of used bytes abort: then they are unknown, and count as none.
    const used = this.#rbd.usedBytesOfAll(this.#place).catch(() => new Map<string, number>());
    yield* await this.#telling(async () => storedDisks(await this.#rbd.list(this.#place), await used));
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    return this.#telling(async () => {
      const image = this.#at({ id, location });
      const known = this.#sightings.find(image)?.stored;
      if (known) return known;
      const used = this.#rbd.usedBytes(image);
      used.catch(() => {}); // Where the image is missing that is no error.
      const info = await this.#images.find(image);
      if (!info) return undefined;
      this.#sightings.note(image);
      const allocatedBytes = info.sizeBytes === 0 ? 0 : await used;
      return { id, sizeBytes: info.sizeBytes, allocatedBytes, parent: parseName(info.parent?.image)?.id };
    });
  }

  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? locationOf(this.#place, id);
  }

  async create(target: NewDisk, options: WorkOptions = {}): Promise<void> {
    if (target.format !== "raw") throw new AppError("not_supported", "blank disks are raw");
    throwIfCancelled(options.signal);
    return this.#telling(async () => {
      await this.#images.create(target.id, target.virtualSizeBytes, options);
      this.#sightings.note(wholeImage(this.#place, target.id));
    });
  }

  async receive(target: NewDisk, { signal }: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(signal);
    return this.#telling(async () => {
      await this.#writers.get(target.id)?.retire();
      const sizeBytes = isPlain(target) && target.virtualSizeBytes > 0 ? padded(target.virtualSizeBytes) : GiB;
      const image = await this.#images.beginAnew(target.id, sizeBytes, { signal });
      const writer = await RbdWriter.open({
        node: this.#node(image),
        sizeBytes,
        signal,
        resize: (length) => this.#images.setSize(image, length),
        publish: async () => {
          await this.#images.publish(target.id, { frozen: isFrozen(target) });
          this.#writers.delete(target.id);
        },
        discard: async () => {
          this.#writers.delete(target.id);
          await this.#images.discardPartial(target.id);
        },
        explain: (error) => this.#explain(error, this.#place.pool),
      });
      this.#writers.set(target.id, writer);
      return writer;
    });
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    const image = this.#at(source);
    try {
      checkEnd((await this.#find(image)).sizeBytes, range);
      yield* readNode({ driver: "raw", file: this.#node(image) }, range, signal);
    } catch (error) {
      await this.#explain(error, image.pool);
    }
  }

  async clone(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<Lineage> {
    throwIfCancelled(options.signal);
    requireSameFormat(source, target);
    const from = this.#at(source);
    return this.#telling(async () => {
      const frozen = isSnapshot(from) ? from : { ...from, snapshot: FROZEN };
      const outcome = await this.#images.cloneFrozen(frozen, target, options);
      // What names a snapshot of its own is that one, or nothing.
      if (!outcome && frozen.snapshot !== FROZEN) throw new AppError("disk_not_found", `there is no ${source.location}`);
      return this.#offspring(source, target, outcome ?? (await this.#cloneNow(from, target, options)), options);
    }, from.pool);
  }

  async snapshot(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<Lineage> {
    throwIfCancelled(options.signal);
    if (source.format !== "raw") throw new AppError("not_supported", "only raw disks have snapshots");
    return this.#telling(async () => this.#offspring(source, target, await this.#cloneNow(this.#at(source), target, options), options));
  }

  async copy(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<void> {
    requireSameFormat(source, target);
    const from = unfrozen(this.#at(source));
    await this.#make(target, options.signal, from.pool, async () => {
      options.onProgress?.(0); // Whoever cancels now needn't wait for the lock of a program that was killed.
      throwIfCancelled(options.signal);
      const image = await this.#images.copyAnew(from, target.id, options);
      if (target.format === "raw") await this.#images.growTo(image, target.virtualSizeBytes);
    });
  }

  async fill(target: NewDisk, fill: (node: BlockNode) => Promise<void>, { signal }: WorkOptions = {}): Promise<void> {
    if (!isPlain(target)) return void (await this.#make(target, signal, this.#place.pool, () => this.#fillFile(target, fill)));
    const begin = async () => void (await this.#images.beginAnew(target.id, target.virtualSizeBytes, { signal }));
    const write = async () => {
      const image = partialImage(this.#place, target.id);
      await fill(formatNode(this.#node(image), target.format));
      if (!isWhole(target.virtualSizeBytes)) await this.#images.setSize(image, target.virtualSizeBytes); // QEMU writes whole sectors.
    };
    const allocatedBytes = await this.#make(target, signal, this.#place.pool, write, begin);
    if (allocatedBytes === undefined) return;
    // Whoever has made it asks at once what it takes.
    this.#sightings.note(wholeImage(this.#place, target.id), { id: target.id, sizeBytes: target.virtualSizeBytes, allocatedBytes, parent: undefined });
  }

  /** The tool makes the image itself. */
  async #fillFile({ id, format }: NewDisk, fill: (node: BlockNode) => Promise<void>): Promise<void> {
    const image = partialImage(this.#place, id);
    await this.#images.discardPartial(id);
    await fill(formatNode(this.#node(image), format));
    await this.#images.settle(image);
  }

  async resize(disk: StoredRef, virtualSizeBytes: number, options: WorkOptions = {}): Promise<void> {
    throwIfCancelled(options.signal);
    if (disk.format !== "raw") throw new AppError("not_supported", "only raw disks grow");
    return this.#telling(() => this.#images.growTo(this.#at(disk), virtualSizeBytes, options));
  }

  async flatten(disk: StoredRef, options: WorkOptions = {}): Promise<void> {
    const image = this.#at(disk);
    return this.#telling(async () => {
      const info = await this.#find(image);
      if (!info.parent) return;
      options.onProgress?.(0);
      throwIfCancelled(options.signal);
      await this.#images.flatten(image, info, options);
      await this.#dropOwnSnapshot(disk.id, info);
    }, this.#place.pool);
  }

  async delete(id: DiskId): Promise<void> {
    return this.#telling(async () => {
      await this.#writers.get(id)?.retire();
      this.#writers.delete(id);
      const image = wholeImage(this.#place, id);
      this.#sightings.forget(image);
      const info = await this.#images.find(image);
      if (info?.isCloned) throw new AppError("conflict", `other disks read through it (rbd children ${image.pool}/${id})`);
      if (info) await this.#images.remove(image);
      if (info) await this.#dropOwnSnapshot(id, info);
      else await this.#dropDesertedSnapshots(id);
      await this.#images.discardPartial(id);
    });
  }

  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    const image = this.#at(disk);
    const node = formatNode(this.#node(image), disk.format);
    if (mode === "write" && isSnapshot(image)) throw new AppError("not_supported", "a snapshot never changes");
    if (this.#sightings.find(image)) return node;
    return this.#telling(async () => {
      await this.#find(image);
      this.#sightings.note(image);
      return node;
    }, image.pool);
  }

  async *changes(from: StoredRef, to: StoredRef, range: ByteRange, options: WorkOptions = {}): AsyncIterable<ByteRange> {
    if (from.format !== "raw" || to.format !== "raw") throw new AppError("not_supported", "what has changed is known of raw disks only");
    const [older, newer] = [unfrozen(this.#at(from)), unfrozen(this.#at(to))];
    try {
      yield* changedObjects(this.#rbd, older, newer, range, options);
    } catch (error) {
      await this.#explain(error, older.pool);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#trash?.[Symbol.dispose]();
    await Promise.all([...this.#writers.values()].map((writer) => writer.retire()));
  }

  /** The image of a disk; where its bytes were registered, possibly a snapshot. */
  #at({ id, location }: Pick<StoredRef, "id" | "location">): RbdImage | RbdSnapshot {
    return location === undefined ? wholeImage(this.#place, id) : parseLocation(location, this.#place.fsid);
  }

  async #find(image: RbdImage | RbdSnapshot): Promise<RbdInfo> {
    const info = await this.#images.find(image);
    if (!info) throw new AppError("disk_not_found", `there is no image ${image.pool}/${image.image}`);
    return info;
  }

  #node(image: RbdImage | RbdSnapshot): RbdNode {
    const { confPath, user, opTimeoutMs } = this.#rbd.access;
    const { pool, namespace, image: name } = image;
    const settings = { ...timeLimits(opTimeoutMs), ...(this.#keyring && { keyring: this.#keyring }) };
    const snapshot = "snapshot" in image ? { snapshot: image.snapshot } : {};
    return rbdNode({ pool, ...(namespace && { namespace }), image: name, ...snapshot, conf: confPath, user, settings });
  }

  async #cloneNow({ pool, namespace, image }: RbdImage, target: NewDisk, options: CallOptions): Promise<Cloned> {
    return this.#images.cloneNow({ pool, namespace, image }, target, options);
  }

  /** A clone gets its size, and tells what it reads through. Where that fails, one that was not there before is gone again. */
  async #offspring(source: StoredRef, target: NewDisk, outcome: Cloned, { signal }: WorkOptions): Promise<Lineage> {
    const image = wholeImage(this.#place, target.id);
    try {
      throwIfCancelled(signal);
      const hasSize = outcome === "made" && target.virtualSizeBytes === source.virtualSizeBytes;
      if (target.format === "raw" && !hasSize) await this.#images.growTo(image, target.virtualSizeBytes);
      if (isFrozen(target)) await this.#images.freeze(image);
      const isAlone = outcome === "alone" || (outcome === "found" && !(await this.#find(image)).parent);
      this.#sightings.note(image);
      return { target: isAlone ? undefined : source.id };
    } catch (error) {
      if (outcome !== "found") await this.#images.remove(image).catch(() => {});
      throw error;
    }
  }

  /**
   * Making what is there succeeds, and changes nothing; what fails leaves nothing. To look takes as long as to begin: both are done at
   * once. Returns the bytes that it takes where they are known.
   */
  #make(target: NewDisk, signal: AbortSignal | undefined, sourcePool: string, write: () => Promise<void>, begin = async () => {}): Promise<number | undefined> {
    return this.#telling(async () => {
      throwIfCancelled(signal);
      const looking = this.#images.find(wholeImage(this.#place, target.id));
      looking.catch(() => {}); // It is awaited below: nothing may be begun behind our back.
      try {
        await begin();
        if (await looking) {
          await this.#images.discardPartial(target.id);
          return undefined;
        }
        await write();
        throwIfCancelled(signal);
        return await this.#images.publish(target.id, { frozen: isFrozen(target) });
      } catch (error) {
        await this.#images.discardPartial(target.id).catch(() => {});
        throw error;
      }
    }, sourcePool);
  }

  /** With clones of format 1 a snapshot of the source stays until the clone that it was made for stands alone or is gone. */
  async #dropOwnSnapshot(id: DiskId, { parent }: RbdInfo): Promise<void> {
    if (parent?.snapshot === id) await this.#images.dropSnapshot(parent);
  }

  /** The same, where a crash came in between. */
  async #dropDesertedSnapshots(id: DiskId): Promise<void> {
    for (const { image, snapshot } of await this.#rbd.list(this.#place)) {
      if (snapshot === id) await this.#images.dropSnapshot({ ...this.#place, image, snapshot });
    }
  }

  async #telling<Result>(work: () => Promise<Result>, sourcePool?: string): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      return this.#explain(error, sourcePool);
    }
  }

  /** What waits until it times out may wait for space: Ceph holds back writes to a full pool. */
  async #explain(error: unknown, sourcePool: string | undefined): Promise<never> {
    const known = asRbdError(error, { user: this.#rbd.access.user, pool: this.#place.pool, sourcePool });
    const mayBeFull = error instanceof AppError && error.code === "tool_failed" && !/couldn't connect/.test(error.message);
    if (mayBeFull && (isUnreachable(error) || known === error) && (await this.#space.isFull().catch(() => false))) {
      throw new AppError("pool_full", `the Ceph pool "${this.#place.pool}" is full, or has reached its quota`, { cause: error });
    }
    throw known;
  }
}

/** A location names the snapshot for clones, which only what never changes has: all others are copied as they are now. */
function unfrozen(at: RbdImage | RbdSnapshot): RbdImage | RbdSnapshot {
  if (!isSnapshot(at) || at.snapshot !== FROZEN) return at;
  const { pool, namespace, image } = at;
  return { pool, namespace, image };
}

/** QEMU and librbd read raw bytes alike. */
function isPlain({ format }: NewDisk): boolean {
  return format === "raw" || format === "iso";
}

/** Others may clone it for as long as it lives: nobody will write to it. */
function isFrozen({ frozen }: NewDisk): boolean {
  return frozen === true;
}

function requireSameFormat(source: StoredRef, target: NewDisk): void {
  if (source.format === target.format) return;
  throw new AppError("not_supported", `a ${source.format} disk is not ${target.format} by copying it`);
}

/** The first of the places that ceph.conf names which is there. */
async function findKeyring(rbdAccess: RbdAccess): Promise<string | undefined> {
  for (const path of await keyringPaths(rbdAccess)) {
    const isThere = await access(path).then(() => true, () => false);
    if (isThere) return path;
  }
  return undefined;
}

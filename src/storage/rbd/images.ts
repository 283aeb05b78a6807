import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { NewDisk } from "#/storage/driver.ts";
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOTEMPTY, exitCodeOf, saidBy, unless } from "#/storage/rbd/errors.ts";
import { isWhole, LENGTH, mayHaveMaps, padded } from "#/storage/rbd/lengths.ts";
import { FROZEN, partialImage, type RbdPlace, wholeImage } from "#/storage/rbd/names.ts";
import { type CallOptions, MAPS, type NewImage, type Rbd, type RbdImage, type RbdInfo, type RbdSnapshot } from "#/tools/rbd.ts";

export interface ImageOptions {
  readonly cloneFormat: number;
  readonly objectSizeBytes: number;
  /** Undefined: deleted images are removed at once. Else they stay in the trash this long. */
  readonly trashDelayMs: number | undefined;
}

/** `made`: now. `found`: it was there already. `alone`: made, and it reads through nothing. */
export type Cloned = "made" | "found" | "alone";

/** The images of a Ceph pool as the driver makes, publishes and removes them: each step may be repeated after a crash in its middle. */
export class RbdImages {
  readonly #rbd: Rbd;
  readonly #place: RbdPlace;
  readonly #options: ImageOptions;

  constructor(rbd: Rbd, place: RbdPlace, options: ImageOptions) {
    this.#rbd = rbd;
    this.#place = place;
    this.#options = options;
  }

  /** With the length of what it holds as its size. */
  async find(image: RbdImage | RbdSnapshot): Promise<RbdInfo | undefined> {
    try {
      const info = await this.#rbd.info(image);
      return info.features.includes("object-map") ? info : { ...info, sizeBytes: await this.#lengthOf(image, info) };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** What was noted when it was padded, unless it has another size now. */
  async #lengthOf({ pool, namespace, image }: RbdImage, { sizeBytes }: RbdInfo): Promise<number> {
    const noted = await this.#rbd.metadata({ pool, namespace, image }, LENGTH).catch(() => "");
    return padded(Number(noted)) === sizeBytes ? Number(noted) : sizeBytes;
  }

  /** An empty disk; one that is there stays as it is. */
  async create(id: DiskId, sizeBytes: number, options: CallOptions): Promise<void> {
    const image = wholeImage(this.#place, id);
    await unless([EEXIST], this.#rbd.create(image, padded(sizeBytes), { ...options, ...this.#kind(sizeBytes) }));
    if (!isWhole(sizeBytes)) await this.#note(image, sizeBytes);
  }

  /** An empty image in place of whatever work there was. */
  async beginAnew(id: DiskId, sizeBytes: number, options: CallOptions): Promise<RbdImage> {
    const image = partialImage(this.#place, id);
    const create = () => this.#rbd.create(image, padded(sizeBytes), { ...options, ...this.#kind(sizeBytes) });
    await this.#orAnew(id, create);
    return image;
  }

  /** A full copy of a source, as unfinished work. */
  async copyAnew(source: RbdImage | RbdSnapshot, id: DiskId, options: CallOptions): Promise<RbdImage> {
    const image = partialImage(this.#place, id);
    await this.#orAnew(id, () => this.#rbd.copy(source, image, options));
    return image;
  }

  async #orAnew(id: DiskId, make: () => Promise<void>): Promise<void> {
    try {
      await make();
    } catch (error) {
      if (exitCodeOf(error) !== EEXIST) throw error;
      await this.discardPartial(id);
      await make();
    }
  }

  /**
   * Gives finished work its name, in place of what had it. What never changes again is made ready for clones before, and the bytes that it
   * takes are counted meanwhile: undefined where that did not come about.
   */
  async publish(id: DiskId, { frozen }: { readonly frozen: boolean }): Promise<number | undefined> {
    const [partial, whole] = [partialImage(this.#place, id), wholeImage(this.#place, id)];
    if (frozen) await this.freeze(partial);
    const counting = frozen ? this.#rbd.usedBytes({ ...partial, snapshot: FROZEN }).catch(() => undefined) : undefined;
    try {
      await this.#rbd.rename(partial, whole);
    } catch (error) {
      if (exitCodeOf(error) !== EEXIST) throw error;
      await this.#removeNow(whole);
      await this.#rbd.rename(partial, whole);
    }
    return counting;
  }

  /** Makes an image ready for clones, which will never change again. */
  async freeze(image: RbdImage): Promise<void> {
    await this.#freeze({ ...image, snapshot: FROZEN });
  }

  /** A snapshot that clones can be made of. Repeatable. */
  async #freeze(snapshot: RbdSnapshot, options: CallOptions = {}): Promise<void> {
    await unless([EEXIST], this.#rbd.createSnapshot(snapshot, options));
    if (this.#options.cloneFormat === 1) await this.#protect(snapshot);
  }

  async #protect(snapshot: RbdSnapshot): Promise<void> {
    await unless([EBUSY], this.#rbd.protect(snapshot)); // It is protected already.
  }

  /** Clones a snapshot that is there, or undefined where it is not; a clone that is there already stays as it is. */
  async cloneFrozen(source: RbdSnapshot, target: NewDisk, options: CallOptions): Promise<Cloned | undefined> {
    try {
      return await this.#clone(source, target, options);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** Clones what the source holds now, though it may go on. */
  async cloneNow(source: RbdImage, target: NewDisk, options: CallOptions): Promise<Cloned> {
    const snapshot = { ...source, snapshot: target.id };
    await this.#freeze(snapshot, options);
    try {
      const outcome = await this.#clone(snapshot, target, options);
      if (this.#options.cloneFormat === 2) await this.#hide(snapshot);
      return outcome;
    } catch (error) {
      await this.dropSnapshot(snapshot).catch(() => {}); // What stays is partial work of the clone, and is listed as such.
      throw error;
    }
  }

  /** Ceph keeps a snapshot that clones of format 2 read, and removes it with the last of them. */
  async #hide(snapshot: RbdSnapshot): Promise<void> {
    await unless([ENOENT], this.#rbd.removeSnapshot(snapshot));
  }

  async #clone(source: RbdSnapshot, { id, virtualSizeBytes }: NewDisk, options: CallOptions): Promise<Cloned> {
    const how = { ...options, ...this.#kind(virtualSizeBytes), format: this.#options.cloneFormat };
    const clone = () => this.#rbd.clone(source, wholeImage(this.#place, id), how);
    try {
      await clone().catch(async (error: unknown) => {
        if (exitCodeOf(error) !== EINVAL || !/must be protected/.test(saidBy(error))) throw error;
        await this.#protect(source);
        await clone();
      });
      return "made";
    } catch (error) {
      if (exitCodeOf(error) === EEXIST) return "found";
      if (!/failed to attach parent: \(22\)/.test(saidBy(error))) throw error;
      await this.create(id, 0, options); // Of nothing there is no clone.
      return "alone";
    }
  }

  #kind(sizeBytes: number): NewImage {
    return { objectSizeBytes: this.#options.objectSizeBytes, maps: mayHaveMaps(sizeBytes) };
  }

  /** Makes it as large as it says; never smaller. */
  async growTo(image: RbdImage, sizeBytes: number, options: CallOptions = {}): Promise<void> {
    const isGrown = await this.#resize(image, sizeBytes, options);
    if (isGrown && !isWhole(sizeBytes)) await this.#note(image, sizeBytes);
  }

  /** Makes it as large as it says, larger or smaller. */
  async setSize(image: RbdImage, sizeBytes: number): Promise<void> {
    await this.#resize(image, sizeBytes, { shrink: true });
    if (!mayHaveMaps(sizeBytes)) await this.#dropMaps(image);
    if (!isWhole(sizeBytes)) await this.#note(image, sizeBytes);
  }

  /** Where a tool has made the image, nobody knew before how long it gets. */
  async settle(image: RbdImage): Promise<void> {
    const { sizeBytes } = await this.#rbd.info(image);
    if (!isWhole(sizeBytes)) await this.setSize(image, sizeBytes);
  }

  /** False where it was larger already, and is not to shrink. */
  async #resize(image: RbdImage, sizeBytes: number, options: CallOptions & { readonly shrink?: boolean }): Promise<boolean> {
    try {
      await this.#rbd.resize(image, padded(sizeBytes), options);
      return true;
    } catch (error) {
      if (exitCodeOf(error) !== EINVAL || !/shrink|equal/.test(saidBy(error))) throw error;
      return /equal/.test(saidBy(error));
    }
  }

  async #note(image: RbdImage, lengthBytes: number): Promise<void> {
    await this.#dropMaps(image);
    await this.#rbd.setMetadata(image, LENGTH, String(lengthBytes));
  }

  async #dropMaps(image: RbdImage): Promise<void> {
    await unless([EINVAL], this.#rbd.disableFeatures(image, MAPS)); // They may be off already.
  }

  /**
   * Copies what the image reads through its parent. Where a client was killed while it wrote to a clone, or flattened one, the object map can
   * tell of objects that are not there; librbd 16.2 would leave these out, and they would read as zeroes once the parent is
   * gone. So the maps are dropped before, and made anew from what is there.
   */
  async flatten(image: RbdImage, info: RbdInfo, options: CallOptions): Promise<void> {
    const present = MAPS.filter((feature) => info.features.includes(feature));
    if (present.length > 0) await this.#rbd.disableFeatures(image, present);
    await this.#rbd.flatten(image, options);
    if (!mayHaveMaps(info.sizeBytes)) return;
    await this.#rbd.enableFeatures(image, MAPS.toReversed());
    await this.#rbd.rebuildObjectMap(image);
  }

  /** Removes a disk, or moves it to the trash. `conflict` where others read through it: then it stays whole. */
  async remove(image: RbdImage): Promise<void> {
    const delayMs = this.#options.trashDelayMs;
    if (delayMs === undefined) return this.#removeNow(image);
    await this.#dropSnapshots(image);
    await unless([ENOENT], this.#rbd.moveToTrash(image, new Date(Date.now() + delayMs)));
  }

  async #removeNow(image: RbdImage): Promise<void> {
    try {
      await this.#removeUnwatched(image);
    } catch (error) {
      if (exitCodeOf(error) !== ENOTEMPTY) throw error;
      await this.#dropSnapshots(image);
      await this.#removeUnwatched(image);
    }
  }

  /** A client that was killed counts as one that has the image open, for half a minute. */
  async #removeUnwatched(image: RbdImage): Promise<void> {
    for (const untilMs = performance.now() + WATCH_MS_MAX; ; await sleep(SECOND_MS)) {
      try {
        return await unless([ENOENT], this.#rbd.remove(image));
      } catch (error) {
        if (exitCodeOf(error) !== EBUSY || performance.now() > untilMs) throw error;
      }
    }
  }

  async #dropSnapshots(image: RbdImage): Promise<void> {
    const info = await this.find(image);
    if (info?.isCloned) throw new AppError("conflict", `other images still read through ${image.pool}/${image.image} (rbd children tells which)`);
    for (const { name, isProtected } of info?.snapshots ? await this.#rbd.snapshots(image) : []) await this.#drop({ ...image, snapshot: name }, isProtected);
  }

  /** Removes a snapshot that nothing reads. Repeatable. */
  async dropSnapshot(snapshot: RbdSnapshot): Promise<void> {
    await this.#drop(snapshot, this.#options.cloneFormat === 1);
  }

  async #drop(snapshot: RbdSnapshot, isProtected: boolean): Promise<void> {
    if (isProtected) await unless([ENOENT, EINVAL], this.#rbd.unprotect(snapshot));
    await unless([ENOENT], this.#rbd.removeSnapshot(snapshot));
  }

  /** Removes unfinished work. Whoever is still at it is kept from ever writing again: it would hold a lock for half a minute. */
  async discardPartial(id: DiskId): Promise<void> {
    const image = partialImage(this.#place, id);
    try {
      for (const lock of await this.#rbd.locks(image)) await unless([ENOENT], this.#rbd.breakLock(image, lock));
      await this.#removeNow(image);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

/** `osd_client_watch_timeout` is 30 s, and an OSD of a busy host notices late. */
const WATCH_MS_MAX = 60 * SECOND_MS;

/** The image or its snapshot; not so the pool. */
function isMissing(error: unknown): boolean {
  return exitCodeOf(error) === ENOENT && !/error opening pool|couldn't connect|namespace/.test(saidBy(error));
}

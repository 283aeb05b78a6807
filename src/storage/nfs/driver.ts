import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { NfsSection } from "#/config/pools/nfs.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";
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
import { filePath } from "#/storage/file/names.ts";
import type { FolderClaim } from "#/storage/file/marker.ts";
import { capabilitiesOf, copyPlace } from "#/storage/nfs/capabilities.ts";
import { type LocationMap, localPath, readShareLocations } from "#/storage/nfs/locations.ts";
import { mountOf, mountTable } from "#/storage/nfs/mounts.ts";
import { Share } from "#/storage/nfs/share.ts";

/** As in the configuration, and whose folders they are (`file/marker.ts`). */
export interface NfsOptions extends NfsSection {
  readonly claim?: FolderClaim | undefined;
}

/** Longer than a busy server is silent, shorter than callers wait. */
const ANSWER_TIMEOUT_MS = 10 * SECOND_MS;

type Shares = readonly [Share, ...Share[]];

/**
 * Disks as files on one or several mounted NFS exports; `file/driver.ts` keeps them on each. A new disk goes to the share with
 * most room; a clone, a snapshot and a copy stay on the share of their source, where the server shares or copies the bytes.
 *
 * A disk is looked for on every share, and one that cannot be reached may have it: then "it is not there" is never said, and
 * nothing new is made.
 */
export class NfsDriver implements StorageDriver {
  readonly kind = "nfs";
  readonly can: Capabilities;
  readonly #shares: Shares;
  readonly #map: LocationMap;
  /** Where disks were met. */
  readonly #met = new Map<DiskId, Share>();

  private constructor(shares: Shares, map: LocationMap) {
    this.#shares = shares;
    this.#map = map;
    this.can = capabilitiesOf(shares);
  }

  /** Opens existing folders on mounted exports, and finds out what their servers can do. Errors: `pool_unavailable`, `pool_full`, `config_invalid`. */
  static async open(path: string, options: NfsOptions = {}): Promise<NfsDriver> {
    const { shares = [], metadataPath, allowLocal = false, answerTimeoutMs = ANSWER_TIMEOUT_MS, claim } = options;
    const first = await Share.open(resolve(path), { allowLocal, answerTimeoutMs, claim });
    // A share that was added to an old pool is empty; that it is mounted is known.
    const other = { allowLocal, answerTimeoutMs, claim: claim && { ...claim, isNew: true } };
    const others = await Promise.all(shares.map((folder) => Share.open(resolve(folder), other)));
    const told = metadataPath === undefined ? [] : await readShareLocations(metadataPath);
    return new NfsDriver([first, ...others], { mounts: await mountTable(), shares: told });
  }

  /** Two folders of one export have their room in common. */
  async capacity(): Promise<Capacity> {
    const exports = [...new Map(this.#shares.map((share) => [share.device, share])).values()];
    const capacities = await Promise.all(exports.map((share) => share.capacity()));
    const sum = (part: "totalBytes" | "freeBytes") => capacities.reduce((bytes, capacity) => bytes + capacity[part], 0);
    return { totalBytes: sum("totalBytes"), freeBytes: sum("freeBytes") };
  }

  async *list(): AsyncIterable<StoredDisk> {
    for (const share of this.#shares) yield* share.each((files) => files.list());
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    if (location === undefined) return (await this.#find(id))?.disk;
    const { share, url } = this.#at(location);
    return share.run({}, (files) => files.stat(id, url));
  }

  /** A location of the image store's on the pool's exports is given in the paths of this machine: other pools may not know the store's. */
  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    if (location !== undefined) return this.#ours(location)?.url ?? location;
    const share = this.#met.get(id) ?? this.#shares[0];
    return pathToFileURL(filePath(share.path, id, "disk")).href;
  }

  async create(target: NewDisk, options?: WorkOptions): Promise<void> {
    const share = await this.#home(target.id);
    return share.run(options, (files, guarded) => files.create(target, guarded));
  }

  async receive(target: NewDisk, options?: WorkOptions): Promise<DiskWriter> {
    const share = await this.#home(target.id);
    const writer = await share.run(options, (files) => files.receive(target, options));
    return {
      concurrency: writer.concurrency,
      write: (block, offset) => share.run({}, () => writer.write(block, offset)),
      finish: (sizeBytes) => share.run({}, () => writer.finish(sizeBytes)),
      abort: () => share.run({}, () => writer.abort()).catch((error: unknown) => abandon(writer, error)),
    };
  }

  async *read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array> {
    const { share, ref } = await this.#source(source);
    yield* share.each((files) => files.read(ref, range, options));
  }

  async clone(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    const { share, ref } = await this.#source(source);
    return share.run(options, (files, guarded) => files.clone(ref, target, guarded));
  }

  async snapshot(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    const { share, ref } = await this.#source(source);
    return share.run(options, (files, guarded) => files.snapshot(ref, target, guarded));
  }

  /** A source on another export of the same server is copied from there. */
  async copy(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<void> {
    const { share, ref } = (await this.#elsewhere(source, target)) ?? (await this.#source(source));
    return share.run(options, (files, guarded) => files.copy(ref, target, guarded));
  }

  async fill(target: NewDisk, fill: (node: BlockNode) => Promise<void>, options?: WorkOptions): Promise<void> {
    const share = await this.#home(target.id);
    return share.run(options, (files, guarded) => files.fill(target, fill, guarded));
  }

  async resize(disk: StoredRef, virtualSizeBytes: number, options?: WorkOptions): Promise<void> {
    const { share } = await this.#source(disk);
    return share.run(options, (files, guarded) => files.resize(disk, virtualSizeBytes, guarded));
  }

  async flatten(disk: StoredRef, options?: WorkOptions): Promise<void> {
    const { share } = await this.#source(disk);
    return share.run(options, (files, guarded) => files.flatten(disk, guarded));
  }

  async delete(id: DiskId, options?: WorkOptions): Promise<void> {
    for (const share of this.#shares) await share.run(options, (files, guarded) => files.delete(id, guarded));
    this.#met.delete(id);
  }

  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    const { share, ref } = await this.#source(disk);
    return share.run({}, (files) => files.open(ref, mode));
  }

  /** What two shares hold has nothing in common. */
  async *changes(from: StoredRef, to: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<ByteRange> {
    if (!this.can.changes) throw new AppError("not_supported", this.can.why.changes ?? "its shares do not tell");
    const [older, newer] = [await this.#source(from), await this.#source(to)];
    if (older.share !== newer.share) throw new AppError("not_supported", "the two lie on different shares");
    yield* newer.share.each((files) => files.changes(older.ref, newer.ref, range, options));
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #find(id: DiskId): Promise<{ share: Share; disk: StoredDisk } | undefined> {
    const last = this.#met.get(id);
    for (const share of last ? [last, ...this.#shares.filter((other) => other !== last)] : this.#shares) {
      const disk = await share.run({}, (files) => files.stat(id));
      if (!disk) continue;
      this.#met.set(id, share);
      return { share, disk };
    }
    return undefined;
  }

  /** Where a disk is made: where it is already, else where most room is. Partial work that a crash left elsewhere goes. */
  async #home(id: DiskId): Promise<Share> {
    if (this.#shares.length === 1) return this.#shares[0];
    const found = await this.#find(id);
    if (found) return found.share;
    for (const share of this.#shares) await share.run({}, (files) => files.delete(id));
    const rooms = await Promise.all(this.#shares.map(async (share) => ({ share, ...(await share.capacity()) })));
    return rooms.reduce((best, room) => (room.freeBytes > best.freeBytes ? room : best)).share;
  }

  /** The share of a source, and the source as the share's files know it. */
  async #source(source: StoredRef): Promise<{ share: Share; ref: StoredRef }> {
    if (source.location !== undefined) {
      const { share, url } = this.#at(source.location);
      return { share, ref: { ...source, location: url } };
    }
    if (this.#shares.length === 1) return { share: this.#shares[0], ref: source };
    const found = await this.#find(source.id);
    if (!found) throw new AppError("disk_not_found", `there is no disk ${source.id}`);
    return { share: found.share, ref: source };
  }

  /** A source that is on none of our exports, but on the same server, and the share where its copy is to be. */
  async #elsewhere({ location, ...source }: StoredRef, target: NewDisk): Promise<{ share: Share; ref: StoredRef } | undefined> {
    const path = location === undefined ? undefined : localPath(location, this.#map);
    if (path === undefined) return undefined;
    const { device, nfs } = mountOf(path, this.#map.mounts);
    const isOurs = this.#shares.some((share) => share.device === device);
    if (isOurs || copyPlace(nfs) !== this.can.copyPlace) return undefined;
    return { share: await this.#home(target.id), ref: { ...source, location: pathToFileURL(path).href } };
  }

  #at(location: string): { share: Share; url: string } {
    const found = this.#ours(location);
    if (!found) throw new AppError("not_supported", `${location} is on none of the pool's exports`);
    return found;
  }

  /** The share on whose export a location lies: in another pool's folder, or in the image store's. */
  #ours(location: string): { share: Share; url: string } | undefined {
    const path = localPath(location, this.#map);
    if (path === undefined) return undefined;
    const { device } = mountOf(path, this.#map.mounts);
    const share = this.#shares.find((candidate) => candidate.device === device);
    return share && { share, url: pathToFileURL(path).href };
  }
}

/** The caller is not kept waiting; the writer closes its file and removes it when the server is back. */
function abandon(writer: DiskWriter, error: unknown): never {
  writer.abort().catch(() => {});
  throw error;
}

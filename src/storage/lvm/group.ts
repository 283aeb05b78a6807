import type { LvmConfig } from "#/config/pools/lvm.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { ByteRange, Capacity, StoredDisk, WorkOptions } from "#/storage/driver.ts";
import { discard, zero } from "#/storage/lvm/device.ts";
import { type DiskVolume, OURS, PARTIAL, parseVolume, roundUp, sizeTag, volumeName } from "#/storage/lvm/layout.ts";
import { capacityOf, findPlace, type Place, requireRoom } from "#/storage/lvm/thin-pool.ts";
import type { LogicalVolume, Lvm, ThinPoolFacts, VolumeGroup } from "#/tools/lvm.ts";

/** Disks as logical volumes of one group, all thick or all in one thin pool. A method is one call of LVM's unless it says otherwise. */
export class DiskGroup {
  readonly lvm: Lvm;
  readonly facts: VolumeGroup;
  readonly pool: ThinPoolFacts | undefined;
  readonly #config: LvmConfig;
  #seen: Seen | undefined;

  private constructor(lvm: Lvm, config: LvmConfig, { group, pool }: Place) {
    this.lvm = lvm;
    this.#config = config;
    this.facts = group;
    this.pool = pool;
    this.#see(pool ? { pool: pool.volume } : { group });
  }

  /** One call where the thin pool is there, or disks are to be thick; up to four otherwise. */
  static async open(lvm: Lvm, config: LvmConfig, isNew: boolean): Promise<DiskGroup> {
    return new DiskGroup(lvm, config, await findPlace(lvm, config, isNew));
  }

  /** As it was up to `WATCH_MS` ago. */
  async capacity(): Promise<Capacity> {
    const { pool, group } = await this.#watch();
    return pool ? capacityOf(pool) : { totalBytes: group?.sizeBytes ?? 0, freeBytes: group?.freeBytes ?? 0 };
  }

  /** Throws `pool_full` or `pool_unavailable` where no more disks may be made. */
  async requireRoom(): Promise<void> {
    if (!this.pool) return;
    const { pool } = await this.#watch();
    if (pool) requireRoom(this.lvm.group, pool, this.#config);
  }

  /** The error of a device, or that its pool is full: whoever wrote through the page cache hears of that only as EIO. */
  async reasonOf(error: unknown): Promise<unknown> {
    if (!this.pool || !(error instanceof AppError) || error.code !== "pool_unavailable") return error;
    await this.look().catch(() => {});
    const isFull = (this.#seen?.pool?.dataPercent ?? 0) >= 100;
    return isFull ? new AppError("pool_full", `thin pool ${this.lvm.group}/${this.pool.volume.name} is full`, { cause: error }) : error;
  }

  /** The disks, whole or not, that are ours and in this pool; in the order of the ids. The thin pool is looked at too. */
  async look(...ids: DiskId[]): Promise<(DiskVolume | undefined)[]> {
    const names = [...ids.map(volumeName), ...(this.pool ? [this.pool.volume.name] : [])];
    const volumes = await this.lvm.volumes(names.map((name) => `lv_name=${name}`).join(" || "));
    if (this.pool) this.#see({ pool: volumes.find(({ name }) => name === this.pool?.volume.name) });
    const disks = this.#disksIn(volumes);
    return ids.map((id) => disks.find((disk) => disk.id === id));
  }

  async list(): Promise<DiskVolume[]> {
    return this.#disksIn(await this.lvm.volumes(`lv_tags=${OURS}`));
  }

  stored({ id, sizeBytes, volumeBytes, whole, mappedPercent = 100 }: DiskVolume): StoredDisk {
    const unitBytes = this.pool?.chunkBytes ?? 1;
    const allocatedBytes = Math.round((volumeBytes * mappedPercent) / 100 / unitBytes) * unitBytes;
    return whole ? { id, sizeBytes, allocatedBytes } : { id, sizeBytes: 0, allocatedBytes, partial: true };
  }

  path({ name }: Pick<DiskVolume, "name">): string {
    return this.lvm.device(name);
  }

  /** A volume of at least so many bytes. With `sizeBytes` the disk is whole at once. A thin one reads as zeroes, a thick one as anything. */
  async make(id: DiskId, volumeBytes: number, sizeBytes?: number): Promise<DiskVolume> {
    const wholeBytes = this.wholeExtents(volumeBytes);
    const size = `${wholeBytes}b`;
    const kind = this.pool ? ["--type", "thin", "--thinpool", this.pool.volume.name, "-V", size] : ["--type", "linear", "-Zn", "-L", size];
    await this.lvm.change("lvcreate", [...kind, "-Wn", "-n", volumeName(id), ...tagArguments(sizeBytes)]);
    return made(id, wholeBytes, sizeBytes);
  }

  /** A thin volume with the content of another. With `sizeBytes` the disk is whole once its volume has that size. */
  async clone(source: DiskVolume, id: DiskId, sizeBytes?: number): Promise<DiskVolume> {
    await this.lvm.change("lvcreate", ["-s", "-kn", "-n", volumeName(id), ...tagArguments(sizeBytes)], source.name);
    return made(id, source.volumeBytes, sizeBytes);
  }

  /** Makes the volume larger, where it is smaller; the new end is as after `make()`. */
  async grow(disk: DiskVolume, volumeBytes: number): Promise<DiskVolume> {
    if (volumeBytes <= disk.volumeBytes) return disk;
    const wholeBytes = this.wholeExtents(volumeBytes);
    await this.lvm.change("lvextend", ["-L", `${wholeBytes}b`], disk.name);
    return { ...disk, volumeBytes: wholeBytes };
  }

  /** Makes the volume as small as its content needs. */
  async shrink(disk: DiskVolume, sizeBytes: number): Promise<DiskVolume> {
    const wholeBytes = this.wholeExtents(sizeBytes);
    if (wholeBytes >= disk.volumeBytes) return disk;
    await this.lvm.change("lvreduce", ["--force", "-L", `${wholeBytes}b`], disk.name);
    return { ...disk, volumeBytes: wholeBytes };
  }

  /** The disk is whole, and so long, from now on. */
  async publish(disk: DiskVolume, sizeBytes: number): Promise<void> {
    const before = Number.isNaN(disk.sizeBytes) || disk.sizeBytes === sizeBytes ? [] : ["--deltag", sizeTag(disk.sizeBytes)];
    await this.lvm.change("lvchange", ["--deltag", PARTIAL, ...before, "--addtag", sizeTag(sizeBytes)], disk.name);
  }

  /** Makes its device usable: none after a restart of the machine, and a suspended one where a call of LVM's was killed. */
  async awaken(disk: DiskVolume): Promise<void> {
    if (!disk.active) await this.lvm.change("lvchange", ["-ay", "-K"], disk.name);
    else if (disk.suspended) await this.lvm.change("lvchange", ["--refresh"], disk.name);
  }

  /** Whether the disk can be used: where an `lvcreate` was killed, LVM may know of a thin volume that its pool does not. */
  async works(disk: DiskVolume): Promise<boolean> {
    return this.awaken(disk).then(
      () => true,
      (error: unknown) => {
        if (error instanceof AppError && error.code === "tool_failed") return false;
        throw error;
      },
    );
  }

  /**
   * Removes the disk, after what it held was overwritten (thick; only what lies in `written`, where that is known) or given back (thin). It is
   * no disk any more from the first of up to three calls on: a repeated remove goes on. Errors: `conflict` while somebody has it open.
   */
  async remove(disk: DiskVolume, { written, ...options }: WorkOptions & { readonly written?: readonly ByteRange[] } = {}): Promise<void> {
    if (disk.open) throw new AppError("conflict", `logical volume ${this.lvm.group}/${disk.name} is in use`);
    throwIfCancelled(options.signal);
    const ranges = this.#cleared(disk, written);
    if (ranges.length > 0) {
      if (disk.whole) await this.lvm.change("lvchange", ["--addtag", PARTIAL], disk.name);
      await this.#clear(disk, ranges, options);
    }
    await this.lvm.change("lvremove", [], disk.name);
    this.#seen = undefined; // There may be room again.
  }

  wholeExtents(bytes: number): number {
    return roundUp(Math.max(1, bytes), this.facts.extentBytes);
  }

  #cleared({ volumeBytes, mappedPercent }: DiskVolume, written: readonly ByteRange[] | undefined): readonly ByteRange[] {
    if (this.pool) return mappedPercent === 0 ? [] : [{ start: 0, end: volumeBytes }];
    const { volumeClear, volumeClearSizeBytes } = this.#config;
    if (volumeClear === "none") return [];
    return written ?? [{ start: 0, end: Math.min(volumeBytes, roundUp(volumeClearSizeBytes, this.facts.extentBytes) || Infinity) }];
  }

  async #clear(disk: DiskVolume, ranges: readonly ByteRange[], options: WorkOptions): Promise<void> {
    if (!this.pool) {
      await this.awaken(disk);
      return zero(this.path(disk), ranges, options);
    }
    try {
      await this.awaken(disk);
      await discard(this.path(disk), options);
    } catch (error) {
      throwIfCancelled(options.signal); // Otherwise it stays a courtesy: the pool itself gets the blocks back in any case.
      if (!(error instanceof AppError)) throw error;
    }
  }

  #disksIn(volumes: readonly LogicalVolume[]): DiskVolume[] {
    return volumes.filter(({ pool }) => pool === this.pool?.volume.name).flatMap((volume) => parseVolume(volume) ?? []);
  }

  /** What is known of the pool or group, or, where that is old, what it is now. */
  async #watch(): Promise<Seen> {
    if (this.#seen && performance.now() < this.#seen.atMs + WATCH_MS) return this.#seen;
    if (this.pool) await this.look();
    else this.#see({ group: await this.lvm.groupFacts() });
    return this.#seen as Seen;
  }

  #see(found: Pick<Seen, "pool" | "group">): void {
    if (this.pool && !found.pool) throw new AppError("pool_unavailable", `volume group "${this.lvm.group}" has no thin pool "${this.pool.volume.name}" any more`);
    this.#seen = { ...found, atMs: performance.now() };
  }
}

/** The thin pool, or the group of thick disks, as it was last seen. */
interface Seen {
  readonly pool?: LogicalVolume | undefined;
  readonly group?: VolumeGroup;
  readonly atMs: number;
}

/** How old the knowledge of a pool may be: a fast disk writes some GiB in that time. */
export const WATCH_MS = 5 * SECOND_MS;

function tagArguments(sizeBytes: number | undefined): string[] {
  return ["--addtag", OURS, "--addtag", sizeBytes === undefined ? PARTIAL : sizeTag(sizeBytes)];
}

function made(id: DiskId, volumeBytes: number, sizeBytes = NaN): DiskVolume {
  const whole = sizeBytes <= volumeBytes;
  return { id, name: volumeName(id), sizeBytes, volumeBytes, whole, mappedPercent: undefined, active: true, open: false, suspended: false };
}

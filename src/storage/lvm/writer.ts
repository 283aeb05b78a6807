import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { ALIGNMENT_BYTES } from "#/lib/aligned-memory.ts";
import { MiB } from "#/lib/units.ts";
import { dataRuns } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { DirectFile } from "#/storage/file/direct-file.ts";
import { tellingErrors } from "#/storage/file/errors.ts";
import { HOLE_BYTES } from "#/storage/file/writer.ts";
import { zero } from "#/storage/lvm/device.ts";
import type { DiskGroup } from "#/storage/lvm/group.ts";
import { type DiskVolume, roundUp } from "#/storage/lvm/layout.ts";
import { Ranges } from "#/storage/lvm/ranges.ts";

/** The least by which a volume grows under a stream whose length nobody knows: each time is a call of LVM's. */
const GROWTH_BYTES = 256 * MiB;

/**
 * Fills a partial volume. It grows as it must, and is cut to the content in the end. In a thin one, what is not written reads as
 * zeroes; in a thick one, `finish()` writes the zeroes.
 */
export class VolumeWriter implements DiskWriter {
  readonly concurrency = 4;
  readonly #group: DiskGroup;
  readonly #file: DirectFile;
  readonly #signal: AbortSignal | undefined;
  readonly #written = new Ranges();
  readonly #underWay = new Set<Promise<void>>();
  /** The first write that failed. */
  #broken: unknown;
  #disk: DiskVolume;
  #growing: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  /** Finished, given up, or another writer has begun anew: the volume is no longer this one's. */
  #over = false;

  private constructor(group: DiskGroup, disk: DiskVolume, file: DirectFile, signal: AbortSignal | undefined) {
    this.#group = group;
    this.#disk = disk;
    this.#file = file;
    this.#signal = signal;
  }

  static async open(group: DiskGroup, disk: DiskVolume, signal: AbortSignal | undefined): Promise<VolumeWriter> {
    return new VolumeWriter(group, disk, await DirectFile.open(group.path(disk), { direct: true }), signal);
  }

  async write(block: Uint8Array, offsetBytes: number): Promise<void> {
    this.#check();
    const work = tellingErrors(() => this.#write(block, offsetBytes));
    this.#underWay.add(work);
    work.catch((error: unknown) => (this.#broken ??= error));
    await work.finally(() => this.#underWay.delete(work));
  }

  async finish(sizeBytes: number): Promise<void> {
    try {
      this.#check();
      await Promise.all(this.#underWay);
      if (this.#broken) throw this.#broken;
      await tellingErrors(() => this.#finish(sizeBytes));
      this.#over = true;
    } catch (error) {
      const reason = await this.#group.reasonOf(error);
      await this.abort();
      throw reason;
    }
  }

  async abort(): Promise<void> {
    await this.#close().catch(() => {});
    if (this.#over) return;
    this.#over = true;
    await this.#group.remove(this.#disk, { written: this.#written.all() });
  }

  /** Leaves the volume to another writer: LVM removes none that is open. */
  async desert(): Promise<void> {
    this.#over = true;
    await this.#close();
  }

  async #write(block: Uint8Array, offset: number): Promise<void> {
    const end = offset + roundUp(block.length, ALIGNMENT_BYTES);
    await this.#reach(end);
    // Holes in a thick volume are written too: the gaps that are left to `finish()` are few and large.
    const runs = this.#group.pool ? dataRuns(block, HOLE_BYTES) : [{ start: 0, end: block.length }];
    if (!this.#group.pool) this.#written.add({ start: offset, end });
    for (const run of runs) await this.#file.write(block.subarray(run.start, run.end), offset + run.start);
  }

  async #finish(sizeBytes: number): Promise<void> {
    await this.#reach(sizeBytes);
    this.#disk = await this.#group.shrink(this.#disk, sizeBytes);
    await this.#file.handle.sync();
    if (!this.#group.pool) await zero(this.#group.path(this.#disk), this.#written.gapsUpTo(this.#disk.volumeBytes), { signal: this.#signal });
    await this.#close();
    await this.#group.publish(this.#disk, sizeBytes);
  }

  async #reach(end: number): Promise<void> {
    while (this.#disk.volumeBytes < end) {
      await (this.#growing ??= this.#grow(end).finally(() => (this.#growing = undefined)));
    }
  }

  /** By much, so that it happens rarely; by as little as will do, where there is not so much. */
  async #grow(end: number): Promise<void> {
    const { volumeBytes } = this.#disk;
    const ampleBytes = Math.max(end, volumeBytes + Math.max(GROWTH_BYTES, volumeBytes / 2));
    this.#disk = await this.#group.grow(this.#disk, ampleBytes).catch((error: unknown) => {
      if (error instanceof AppError && error.code === "pool_full") return this.#group.grow(this.#disk, end);
      throw error;
    });
  }

  #check(): void {
    throwIfCancelled(this.#signal);
    if (this.#over) throw new AppError("cancelled", "another call has begun to fill the disk anew");
  }

  #close(): Promise<void> {
    return (this.#closed ??= Promise.allSettled(this.#underWay).then(() => this.#file.close()));
  }
}

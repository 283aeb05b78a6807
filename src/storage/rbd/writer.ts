import type { RbdNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { GiB, KiB } from "#/lib/units.ts";
import { dataRuns } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { openWriter, type RawWriter } from "#/tools/qemu-nbd.ts";

export interface RbdWriterOptions {
  /** The image, which has `sizeBytes` and reads as zeroes. */
  readonly node: RbdNode;
  readonly sizeBytes: number;
  readonly signal: AbortSignal | undefined;
  /** Makes the image as large as it says, larger or smaller. */
  readonly resize: (sizeBytes: number) => Promise<void>;
  readonly publish: () => Promise<void>;
  readonly discard: () => Promise<void>;
  /** Gives an error its meaning. */
  readonly explain: (error: unknown) => Promise<never>;
}

/**
 * Writes into an image through a qemu-nbd of its own, in any order and without a temporary file. Zeroes are left out. An image
 * that turns out longer than it was said to be is made larger in between; that costs nothing but the half second to open it again.
 */
export class RbdWriter implements DiskWriter {
  /** The way over the network takes longer than on a local disk. */
  readonly concurrency = 8;
  readonly #options: RbdWriterOptions;
  #sizeBytes: number;
  #disk: Promise<RawWriter>;
  readonly #underWay = new Set<Promise<void>>();
  #growing: Promise<void> | undefined;
  #isEnded = false;

  private constructor(options: RbdWriterOptions, disk: RawWriter) {
    this.#options = options;
    this.#sizeBytes = options.sizeBytes;
    this.#disk = Promise.resolve(disk);
  }

  static async open(options: RbdWriterOptions): Promise<RbdWriter> {
    return new RbdWriter(options, await openDisk(options));
  }

  async write(block: Uint8Array, offsetBytes: number): Promise<void> {
    throwIfCancelled(this.#options.signal);
    while (offsetBytes + block.length > this.#sizeBytes || this.#growing) {
      this.#growing ??= this.#grow(offsetBytes + block.length).finally(() => (this.#growing = undefined));
      await this.#growing;
    }
    const work = this.#write(block, offsetBytes);
    this.#underWay.add(work);
    await work.catch(this.#options.explain).finally(() => this.#underWay.delete(work));
  }

  async finish(sizeBytes: number): Promise<void> {
    try {
      throwIfCancelled(this.#options.signal);
      await this.#finish(sizeBytes).catch(this.#options.explain);
    } catch (error) {
      await this.abort();
      throw error;
    }
  }

  async abort(): Promise<void> {
    if (this.#isEnded) return;
    await this.retire();
    await this.#options.discard().catch(() => {}); // What stays is partial work, and the audit finds it.
  }

  /** Ends it without a word to the image: another one takes its place. */
  async retire(): Promise<void> {
    this.#isEnded = true;
    await Promise.allSettled(this.#underWay);
    await this.#close().catch(() => {});
  }

  async #finish(sizeBytes: number): Promise<void> {
    if (this.#isEnded) throw new AppError("cancelled", "it was given up");
    await Promise.all(this.#underWay);
    await (await this.#disk).flush();
    await this.#close();
    if (sizeBytes !== this.#sizeBytes) await this.#options.resize(sizeBytes);
    await this.#options.publish();
    this.#isEnded = true;
  }

  async #write(block: Uint8Array, offset: number): Promise<void> {
    const disk = await this.#disk;
    for (const { start, end } of dataRuns(block, HOLE_BYTES)) await disk.write(block.subarray(start, end), offset + start);
  }

  async #grow(neededBytes: number): Promise<void> {
    if (this.#isEnded) throw new AppError("cancelled", "it was given up");
    if (neededBytes <= this.#sizeBytes) return;
    await Promise.allSettled(this.#underWay);
    const disk = this.#reopened(Math.max(neededBytes, 2 * this.#sizeBytes, GiB));
    disk.catch(() => {}); // Whoever writes hears of it.
    this.#disk = disk;
    await disk.catch(this.#options.explain);
  }

  async #reopened(sizeBytes: number): Promise<RawWriter> {
    const disk = await this.#disk;
    await disk.flush();
    await disk[Symbol.asyncDispose]();
    await this.#options.resize(sizeBytes);
    this.#sizeBytes = sizeBytes;
    return openDisk(this.#options);
  }

  async #close(): Promise<void> {
    await (await this.#disk)[Symbol.asyncDispose]();
  }
}

/** Without the caller's signal: a server that is stopped in the middle leaves a lock on the image. */
function openDisk({ node }: RbdWriterOptions): Promise<RawWriter> {
  return openWriter({ driver: "raw", file: node });
}

/** Runs of zeroes at least this long become holes. */
const HOLE_BYTES = 64 * KiB;

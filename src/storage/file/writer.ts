import { lstat } from "node:fs/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { KiB } from "#/lib/units.ts";
import { dataRuns } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { DirectFile } from "#/storage/file/direct-file.ts";
import { tellingErrors } from "#/storage/file/errors.ts";
import { removeQuietly } from "#/storage/file/files.ts";

/** Writes a new file; zeroes are left out, so that it is sparse. */
export class FileWriter implements DiskWriter {
  /** Enough to keep a disk busy; more only take memory. */
  readonly concurrency = 4;
  readonly #path: string;
  readonly #file: DirectFile;
  readonly #options: FileWriterOptions;
  readonly #inode: number;
  readonly #underWay = new Set<Promise<void>>();

  private constructor(path: string, file: DirectFile, inode: number, options: FileWriterOptions) {
    this.#path = path;
    this.#file = file;
    this.#inode = inode;
    this.#options = options;
  }

  /** `path` is an empty file; `publish` gives it its place once it is whole. */
  static async open(path: string, options: FileWriterOptions): Promise<FileWriter> {
    const file = await DirectFile.open(path, options);
    return new FileWriter(path, file, (await file.handle.stat()).ino, options);
  }

  async write(block: Uint8Array, offsetBytes: number): Promise<void> {
    throwIfCancelled(this.#options.signal);
    const work = tellingErrors(async () => {
      for (const { start, end } of dataRuns(block, HOLE_BYTES)) await this.#file.write(block.subarray(start, end), offsetBytes + start);
    });
    this.#underWay.add(work);
    await work.finally(() => this.#underWay.delete(work));
  }

  async finish(sizeBytes: number): Promise<void> {
    try {
      throwIfCancelled(this.#options.signal);
      await tellingErrors(async () => {
        await this.#file.handle.truncate(sizeBytes);
        await this.#file.handle.sync();
        await this.#close();
        await this.#options.publish();
      });
    } catch (error) {
      await this.abort();
      throw error;
    }
  }

  /** Removes its own file only: whoever began anew meanwhile has another one under the same name. */
  async abort(): Promise<void> {
    await this.#close().catch(() => {});
    const there = await lstat(this.#path).catch(() => undefined);
    if (there?.ino === this.#inode) await removeQuietly(this.#path);
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    await this.#file.close();
  }
}

export interface FileWriterOptions {
  readonly direct: boolean;
  readonly publish: () => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/** Runs of zeroes at least this long become holes. Shorter ones would only scatter the file. */
export const HOLE_BYTES = 64 * KiB;

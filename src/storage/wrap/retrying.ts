import { setTimeout as sleep } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import type { ByteRange, DiskWriter, Fill, NewDisk, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";

export interface RetryOptions {
  /** How often in all, the first time counted. */
  readonly attemptsMax: number;
  /** The first wait; each later one is twice as long. */
  readonly delayMs: number;
}

/** What may be gone in a moment. A full pool is not: somebody must act. Nor is a tool that took hours in vain. */
const TRANSIENT: readonly ErrorCode[] = ["pool_unavailable", "unavailable"];

/** Tries again what failed for a reason that may pass. Every call of a driver may be repeated, so that is safe. */
export class RetryingDriver extends DriverAround {
  protected readonly inner: StorageDriver;
  readonly #options: RetryOptions;

  constructor(inner: StorageDriver, options: RetryOptions) {
    super();
    this.inner = inner;
    this.#options = options;
  }

  protected override async run<Result>({ signal }: Call, work: () => Promise<Result>): Promise<Result> {
    return this.#retry(work, { signal });
  }

  /** What was begun by somebody else may not be repeatable: only the way there is tried again. */
  override async fill(target: NewDisk, fill: Fill, options: WorkOptions = {}): Promise<void> {
    let begun = false;
    const once: Fill = (...args) => {
      begun = true;
      return fill(...args);
    };
    await this.#retry(() => this.inner.fill(target, once, options), { signal: options.signal, mayRepeat: () => !begun });
  }

  /** A failed `finish` has removed what was written: there is nothing left to finish. */
  protected override finish(writer: DiskWriter, sizeBytes: number): Promise<void> {
    return writer.finish(sizeBytes);
  }

  /** Goes on at the byte where the reading broke off. */
  override async *read(source: StoredRef, range: ByteRange, options: WorkOptions = {}): AsyncIterable<Uint8Array> {
    let start = range.start;
    for (let attempt = 1; ; attempt++) {
      try {
        for await (const block of this.inner.read(source, { start, end: range.end }, options)) {
          start += block.length;
          attempt = 1;
          yield block;
        }
        return;
      } catch (error) {
        await this.#waitOrThrow(error, attempt, options.signal);
      }
    }
  }

  override async *list(): AsyncIterable<StoredDisk> {
    const seen = new Set<string>();
    for (let attempt = 1; ; attempt++) {
      try {
        for await (const disk of this.inner.list()) {
          if (seen.has(disk.id)) continue;
          seen.add(disk.id);
          yield disk;
        }
        return;
      } catch (error) {
        await this.#waitOrThrow(error, attempt);
      }
    }
  }

  async #retry<Result>(
    work: () => Promise<Result>,
    { signal, mayRepeat }: { signal?: AbortSignal | undefined; mayRepeat?: () => boolean },
  ): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (mayRepeat?.() === false) throw error;
        await this.#waitOrThrow(error, attempt, signal);
      }
    }
  }

  async #waitOrThrow(error: unknown, attempt: number, signal?: AbortSignal): Promise<void> {
    const isTransient = error instanceof AppError && TRANSIENT.includes(error.code);
    if (!isTransient || attempt >= this.#options.attemptsMax) throw error;
    await sleep(this.#options.delayMs * 2 ** (attempt - 1), undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
}

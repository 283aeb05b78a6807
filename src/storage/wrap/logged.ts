import { AppError } from "#/domain/errors.ts";
import type { Log } from "#/lib/log.ts";
import type { ByteRange, DiskWriter, StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";

/** Calls that happen too often, and change nothing. */
const QUIET: readonly Call["name"][] = ["stat", "capacity", "open"];

/** A line when a call begins (debug) and one when it ends (info; warn where it failed), with disk, times and sizes as fields. */
export class LoggedDriver extends DriverAround {
  protected readonly inner: StorageDriver;
  readonly #log: Log;

  constructor(inner: StorageDriver, log: Log) {
    super();
    this.inner = inner;
    this.#log = log;
  }

  protected override async run<Result>({ name, disk }: Call, work: () => Promise<Result>): Promise<Result> {
    return this.#logged({ call: name, disk }, QUIET.includes(name) ? "debug" : "info", work);
  }

  /** Blocks are counted by whoever sends them; a line for each would say nothing. */
  protected override write(writer: DiskWriter, { block, offset }: { block: Uint8Array; offset: number }): Promise<void> {
    return writer.write(block, offset);
  }

  protected override finish(writer: DiskWriter, sizeBytes: number, { disk }: Call): Promise<void> {
    return this.#logged({ call: "finish", disk, sizeBytes }, "info", () => writer.finish(sizeBytes));
  }

  override async *read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array> {
    const fields = { call: "read", disk: source.id, ...range };
    const startedMs = performance.now();
    let sizeBytes = 0;
    try {
      for await (const block of this.inner.read(source, range, options)) {
        sizeBytes += block.length;
        yield block;
      }
    } catch (error) {
      this.#log.warn({ ...fields, sizeBytes, durationMs: sinceMs(startedMs), ...reason(error) }, "storage call failed");
      throw error;
    }
    this.#log.debug({ ...fields, sizeBytes, durationMs: sinceMs(startedMs) }, "storage call done");
  }

  async #logged<Result>(fields: object, level: "debug" | "info", work: () => Promise<Result>): Promise<Result> {
    const startedMs = performance.now();
    this.#log.debug(fields, "storage call begins");
    try {
      const result = await work();
      this.#log[level]({ ...fields, durationMs: sinceMs(startedMs) }, "storage call done");
      return result;
    } catch (error) {
      this.#log.warn({ ...fields, durationMs: sinceMs(startedMs), ...reason(error) }, "storage call failed");
      throw error;
    }
  }
}

function sinceMs(startedMs: number): number {
  return Math.round(performance.now() - startedMs);
}

function reason(error: unknown): object {
  return { code: error instanceof AppError ? error.code : undefined, because: error instanceof Error ? error.message : String(error) };
}

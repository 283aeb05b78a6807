import { throwIfCancelled } from "#/domain/cancel.ts";
import { Semaphore } from "#/lib/semaphore.ts";
import type { ByteRange, DedupOptions, DiskWriter, StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";
import { Throttle } from "#/storage/wrap/throttle.ts";

export interface LimitOptions {
  /** How many heavy calls run at once. */
  readonly concurrencyMax: number;
  /** For bytes that pass through us, both ways together; 0 is without a limit. */
  readonly bytesPerSecondMax: number;
}

/** The limits of one pool, however often its driver is opened. */
export class Limits {
  readonly heavy: Semaphore;
  readonly throttle: Throttle | undefined;

  constructor({ concurrencyMax, bytesPerSecondMax }: LimitOptions) {
    this.heavy = new Semaphore(concurrencyMax);
    this.throttle = bytesPerSecondMax > 0 ? new Throttle(bytesPerSecondMax) : undefined;
  }
}

/** Those that move bytes or start programs. The others are quick, and some are needed inside of these. */
const HEAVY: readonly Call["name"][] = ["clone", "snapshot", "copy", "fill", "resize", "flatten"];

/**
 * Lets only so many heavy calls run at once, and so many bytes pass per second. Heavy calls don't nest: inside of `fill()`,
 * no other of them may be made on the same pool.
 */
export class LimitedDriver extends DriverAround {
  protected readonly inner: StorageDriver;
  readonly #limits: Limits;

  constructor(inner: StorageDriver, limits: Limits) {
    super();
    this.inner = inner;
    this.#limits = limits;
  }

  protected override async run<Result>({ name, signal }: Call, work: () => Promise<Result>): Promise<Result> {
    if (!HEAVY.includes(name)) return work();
    using _ = await this.#limits.heavy.take(signal).catch((error: unknown) => {
      throwIfCancelled(signal);
      throw error;
    });
    return await work();
  }

  protected override async write(
    writer: DiskWriter,
    { block, offset }: { block: Uint8Array; offset: number },
    { signal }: Call,
  ): Promise<void> {
    await this.#limits.throttle?.pass(block.length, signal);
    await writer.write(block, offset);
  }

  override async dedup(options: DedupOptions = {}): Promise<void> {
    const pass = async (bytes: number) => this.#limits.throttle?.pass(bytes, options.signal);
    return super.dedup({ ...options, pass });
  }

  override async *read(source: StoredRef, range: ByteRange, options: WorkOptions = {}): AsyncIterable<Uint8Array> {
    for await (const block of this.inner.read(source, range, options)) {
      await this.#limits.throttle?.pass(block.length, options.signal);
      yield block;
    }
  }
}

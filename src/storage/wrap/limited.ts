import { throwIfCancelled } from "#/domain/cancel.ts";
import { Semaphore } from "#/lib/semaphore.ts";
import type { ByteRange, DedupOptions, DiskWriter, Fill, NewDisk, StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";
import { Throttle } from "#/storage/throttle.ts";

export interface LimitOptions {
  /** How many heavy calls run at once. */
  readonly concurrencyMax: number;
  /** For bytes that pass through us, both ways together; 0 is without a limit. */
  readonly bytesPerSecondMax: number;
}

/** Of the bytes per second, what a program gets that moves bytes by itself; what we move meanwhile shares the rest. */
const LENT = 7 / 8;

/** The limits of one pool, however often its driver is opened. */
export class Limits {
  readonly #heavy: Semaphore;
  readonly #programs = new Semaphore(1);
  readonly #bytesPerSecondMax: number;
  readonly #throttle: Throttle | undefined;

  constructor({ concurrencyMax, bytesPerSecondMax }: LimitOptions) {
    this.#heavy = new Semaphore(concurrencyMax);
    this.#bytesPerSecondMax = bytesPerSecondMax;
    this.#throttle = bytesPerSecondMax > 0 ? new Throttle(bytesPerSecondMax) : undefined;
  }

  takeHeavy(signal?: AbortSignal): Promise<Disposable> {
    return take(this.#heavy, signal);
  }

  /** Waits until it is these bytes' turn. */
  async pass(bytes: number, signal?: AbortSignal): Promise<void> {
    await this.#throttle?.pass(bytes, signal);
  }

  /**
   * Runs `work`, which has a program move bytes as fast as it is told. A program keeps its rate to its end: in a pool with a
   * limit there is one at a time, so that all together hold it.
   */
  async lend<Result>(work: (bytesPerSecondMax: number | undefined) => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    if (!this.#throttle) return work(undefined);
    using _turn = await take(this.#programs, signal);
    using _lent = this.#throttle.lend(LENT);
    return await work(Math.floor(this.#bytesPerSecondMax * LENT));
  }
}

function take(semaphore: Semaphore, signal?: AbortSignal): Promise<Disposable> {
  return semaphore.take(signal).catch((error: unknown) => {
    throwIfCancelled(signal);
    throw error;
  });
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
    using _ = await this.#limits.takeHeavy(signal);
    return await work();
  }

  override async fill(target: NewDisk, fill: Fill, options: WorkOptions = {}): Promise<void> {
    return super.fill(target, (node, rate) => this.#limits.lend((ours) => fill(node, lower(ours, rate)), options.signal), options);
  }

  override async copy(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<void> {
    return this.#lent({ name: "copy", disk: target.id }, options, (paced) => this.inner.copy(source, target, paced));
  }

  override async flatten(disk: StoredRef, options: WorkOptions = {}): Promise<void> {
    return this.#lent({ name: "flatten", disk: disk.id }, options, (paced) => this.inner.flatten(disk, paced));
  }

  /** Both kinds of turns are always taken in this order. */
  async #lent(call: Call, options: WorkOptions, work: (options: WorkOptions) => Promise<void>): Promise<void> {
    const { signal } = options;
    await this.run({ ...call, signal }, () => this.#limits.lend((ours) => work({ ...options, bytesPerSecondMax: lower(ours, options.bytesPerSecondMax) }), signal));
  }

  protected override async write(
    writer: DiskWriter,
    { block, offset }: { block: Uint8Array; offset: number },
    { signal }: Call,
  ): Promise<void> {
    await this.#limits.pass(block.length, signal);
    await writer.write(block, offset);
  }

  override async dedup(options: DedupOptions = {}): Promise<void> {
    const pass = (bytes: number) => this.#limits.pass(bytes, options.signal);
    return super.dedup({ ...options, pass });
  }

  override async *read(source: StoredRef, range: ByteRange, options: WorkOptions = {}): AsyncIterable<Uint8Array> {
    for await (const block of this.inner.read(source, range, options)) {
      await this.#limits.pass(block.length, options.signal);
      yield block;
    }
  }
}

/** A pool on another host has a limit here and one there. */
function lower(one: number | undefined, other: number | undefined): number | undefined {
  return one !== undefined && other !== undefined ? Math.min(one, other) : (one ?? other);
}

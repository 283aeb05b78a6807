import { AppError, asAppError } from "#/domain/errors.ts";
import type { Log } from "#/lib/log.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { ByteRange, Capabilities, Capacity, DiskWriter, NewDisk, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";

export interface ReopeningOptions {
  /** The kind of driver, which is known before it is open. */
  readonly kind: string;
  /** Opens the place anew. Errors: `pool_unavailable`, `pool_full`. */
  readonly open: () => Promise<StorageDriver>;
  readonly log: Log;
  /** The first pause between two attempts; each later one is twice as long, up to `pauseMaxMs`. */
  readonly pauseMs?: number;
  readonly pauseMaxMs?: number;
  /** How long the first attempt is waited for: a place that hangs must not keep the others from starting. */
  readonly patienceMs?: number;
  /** How long a question for its capacity is waited for: whoever chooses a pool asks them all, and one that hangs must not hold up the others. */
  readonly answerMs?: number;
}

/** Longer than drivers take to find out that their place is away: operations that are taken up at the start fail on a pool that is still being opened. */
const PATIENCE_MS = 15 * SECOND_MS;

/** Why a pool is down, and since when (ms since 1970). */
export interface Down {
  readonly reason: string;
  readonly sinceMs: number;
}

/** A driver as it was opened, and how many calls are at work in it: it is closed after the last of them. */
interface Opening {
  readonly driver: StorageDriver;
  uses: number;
}

/**
 * A driver that may be away: at the start, or later. While it is down every call is refused at once with the reason, and it
 * is opened again in the background, so that a place that was unmounted and mounted again comes back by itself.
 *
 * A call that fails with `pool_unavailable` makes it suspect: then its capacity is asked for, and where that fails too it is down.
 * There is one attempt at a time, since one that hangs holds a thread.
 */
export class ReopeningDriver extends DriverAround {
  readonly #options: Required<ReopeningOptions>;
  #opening: Opening | undefined;
  #down: Down | undefined;
  #checking = false;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(options: ReopeningOptions) {
    super();
    this.#options = { pauseMs: SECOND_MS, pauseMaxMs: 30 * SECOND_MS, patienceMs: PATIENCE_MS, answerMs: 30 * SECOND_MS, ...options };
  }

  /** Tries to open it, and never rejects: what cannot be opened is down. */
  static async open(options: ReopeningOptions): Promise<ReopeningDriver> {
    const driver = new ReopeningDriver(options);
    const { patienceMs } = driver.#options;
    const hanging = Promise.withResolvers<void>();
    const timer = setTimeout(hanging.resolve, patienceMs);
    driver.#goDown(`it did not answer within ${patienceMs / SECOND_MS} s`);
    await Promise.race([driver.#reopen(), hanging.promise]);
    clearTimeout(timer);
    return driver;
  }

  /** Undefined while it is up. */
  get down(): Down | undefined {
    return this.#down;
  }

  override get kind(): string {
    return this.#options.kind;
  }

  /** Of a place that was never reached nothing is known: it can nothing. */
  override get can(): Capabilities {
    return this.#opening?.driver.can ?? nothing(this.#down?.reason ?? "it is not open");
  }

  protected get inner(): StorageDriver {
    return this.#use().driver;
  }

  protected override async run<Result>(_: Call, work: () => Promise<Result>): Promise<Result> {
    using _use = this.#hold();
    return await this.#watched(work);
  }

  override async capacity(): Promise<Capacity> {
    const asked = super.capacity();
    const { answerMs } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      this.#leaveHanging(asked);
      late.reject(new AppError("pool_unavailable", `it did not answer within ${answerMs / SECOND_MS} s`));
    }, answerMs);
    return await Promise.race([asked, late.promise]).finally(() => clearTimeout(timer));
  }

  /** Looks at nothing, and so works while it is down too. */
  override locate(disk: Pick<StoredRef, "id" | "location">): string {
    return (this.#opening?.driver ?? this.inner).locate(disk);
  }

  override async receive(target: NewDisk, options?: WorkOptions): Promise<DiskWriter> {
    const use = this.#hold();
    try {
      const writer = await this.#watched(() => this.inner.receive(target, options));
      return {
        concurrency: writer.concurrency,
        write: (block, offset) => this.#watched(() => writer.write(block, offset)),
        finish: (sizeBytes) => this.#watched(() => writer.finish(sizeBytes)).finally(() => use[Symbol.dispose]()),
        abort: () => writer.abort().finally(() => use[Symbol.dispose]()),
      };
    } catch (error) {
      use[Symbol.dispose]();
      throw error;
    }
  }

  override async *read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array> {
    yield* this.#watchedEach(() => this.inner.read(source, range, options));
  }

  override async *changes(from: StoredRef, to: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<ByteRange> {
    yield* this.#watchedEach(() => super.changes(from, to, range, options));
  }

  override async *list(): AsyncIterable<StoredDisk> {
    yield* this.#watchedEach(() => this.inner.list());
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#opening?.driver[Symbol.asyncDispose]();
  }

  async *#watchedEach<Item>(begin: () => AsyncIterable<Item>): AsyncIterable<Item> {
    using _use = this.#hold();
    try {
      yield* begin();
    } catch (error) {
      this.#suspect(error);
      throw error;
    }
  }

  async #watched<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      this.#suspect(error);
      throw error;
    }
  }

  #use(): Opening {
    if (this.#opening && !this.#down) return this.#opening;
    throw new AppError("pool_unavailable", `it is down: ${this.#down?.reason}`);
  }

  #hold(): Disposable {
    const opening = this.#use();
    opening.uses += 1;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        opening.uses -= 1;
        this.#closeUnused(opening);
      },
    };
  }

  #suspect(error: unknown): void {
    if (asAppError(error)?.code !== "pool_unavailable" || this.#checking || this.#down || this.#isClosed) return;
    this.#checking = true;
    void this.#check().finally(() => {
      this.#checking = false;
    });
  }

  async #check(): Promise<void> {
    try {
      await this.#opening?.driver.capacity();
    } catch (error) {
      this.#goDown(wordsOf(error));
      this.#options.log.warn({ because: this.#down?.reason }, "pool is down");
      await this.#reopen();
    }
  }

  /** It is down until the call comes back; then it is opened again. Meanwhile no other call is begun that might hang too. */
  #leaveHanging(call: Promise<unknown>): void {
    if (this.#down || this.#isClosed) return;
    this.#goDown(`it did not answer within ${this.#options.answerMs / SECOND_MS} s`);
    this.#options.log.warn({ because: "it hangs" }, "pool is down");
    const reopen = () => this.#reopen();
    void call.then(reopen, reopen);
  }

  #goDown(reason: string): void {
    this.#down = { reason, sinceMs: this.#down?.sinceMs ?? Date.now() };
  }

  async #reopen(pauseMs = this.#options.pauseMs): Promise<void> {
    try {
      const driver = await this.#options.open();
      await driver.capacity();
      await this.#putInPlace(driver);
    } catch (error) {
      if (this.#isClosed) return;
      this.#goDown(wordsOf(error));
      this.#options.log.warn({ because: this.#down?.reason, pauseMs }, "pool cannot be opened");
      const nextMs = Math.min(2 * pauseMs, this.#options.pauseMaxMs);
      this.#timer = setTimeout(() => void this.#reopen(nextMs), pauseMs);
      this.#timer.unref();
    }
  }

  async #putInPlace(driver: StorageDriver): Promise<void> {
    if (this.#isClosed) return driver[Symbol.asyncDispose]();
    const before = this.#opening;
    this.#opening = { driver, uses: 0 };
    this.#down = undefined;
    const { kind, can } = driver;
    this.#options.log.info({ driver: kind, place: can.place, clone: can.clone, why: can.why }, before ? "pool is back" : "pool opened");
    if (before) this.#closeUnused(before);
  }

  /** The driver of an earlier opening is closed when its last call has ended. */
  #closeUnused(opening: Opening): void {
    if (opening === this.#opening || opening.uses > 0) return;
    void this.#close(opening);
  }

  async #close({ driver }: Opening): Promise<void> {
    try {
      await driver[Symbol.asyncDispose]();
    } catch (err) {
      this.#options.log.warn({ err }, "pool cannot be closed");
    }
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function nothing(reason: string): Capabilities {
  const words = ["clone", "snapshot", "offloadCopy", "addressable", "mutable", "sparse"] as const;
  return {
    ...{ clone: "none", snapshot: false, offloadCopy: false, addressable: "none", mutable: false, sparse: false, place: "unknown" },
    why: Object.fromEntries(words.map((word) => [word, `it is down: ${reason}`])),
  };
}

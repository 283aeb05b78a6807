import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { WorkOptions } from "#/storage/driver.ts";

/** So long an answer is believed. Each check starts a program: some milliseconds. */
const FRESH_MS = 3 * SECOND_MS;

/**
 * Keeps callers from waiting for a server that is gone. A call of the file system on a hard mount then waits in the kernel, and
 * nobody can end it; so the server is asked before a call, by a program that can be ended, and again while calls are under
 * way. Where it does not answer, callers get `pool_unavailable` at once, though the kernel keeps some of our threads.
 */
export class ShareWatch {
  readonly #ask: () => Promise<void>;
  readonly #freshMs: number;
  readonly #underWay = new Set<(reason: AppError) => void>();
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** `ask` rejects with `pool_unavailable` where the server does not answer. */
  constructor(ask: () => Promise<void>, freshMs = FRESH_MS) {
    this.#ask = ask;
    this.#freshMs = freshMs;
  }

  /**
   * Does work that may hang. When the server is lost, the answer is an error, and the work, if it ever goes on, finds its signal
   * set and undoes what it did.
   */
  async guard<Result>(options: WorkOptions, work: (options: WorkOptions) => Promise<Result>): Promise<Result> {
    await this.#assertAnswers();
    const stop = new AbortController();
    const lost = Promise.withResolvers<never>();
    const end = (reason: AppError) => {
      stop.abort(reason);
      lost.reject(reason);
    };
    this.#begin(end);
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const working = work({ ...options, signal });
    working.catch(() => {}); // After the race is lost, nobody else looks at it.
    return Promise.race([working, lost.promise]).finally(() => this.#finish(end));
  }

  async #assertAnswers(): Promise<void> {
    if (performance.now() - this.#answeredAtMs < this.#freshMs) return;
    await (this.#asking ??= this.#check());
  }

  async #check(): Promise<void> {
    try {
      await this.#ask();
      this.#answeredAtMs = performance.now();
    } finally {
      this.#asking = undefined;
    }
  }

  #begin(end: (reason: AppError) => void): void {
    this.#underWay.add(end);
    this.#timer ??= setInterval(() => void this.#lookAfter(), this.#freshMs).unref();
  }

  #finish(end: (reason: AppError) => void): void {
    this.#underWay.delete(end);
    if (this.#underWay.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #lookAfter(): Promise<void> {
    try {
      await this.#assertAnswers();
    } catch (error) {
      const reason = error instanceof AppError ? error : new AppError("pool_unavailable", String(error), { cause: error });
      for (const end of [...this.#underWay]) end(reason);
    }
  }
}

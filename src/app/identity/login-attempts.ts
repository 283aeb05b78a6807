import { AppError } from "#/domain/errors.ts";
import type { Clock } from "#/lib/clock.ts";
import { MINUTE_MS } from "#/lib/units.ts";

/** Guessing is stopped after this many wrong secrets in a row … */
const FAILURES_MAX = 5;
/** … for this long since the last: 7,200 guesses a day at most. */
const PAUSE_MS = MINUTE_MS;
/** Names that are remembered; beyond it the oldest are forgotten. About 2 MB. */
const NAMES_MAX = 10_000;

/**
 * Slows the guessing of secrets. It counts per user *and* address: a stranger who guesses must not be able to lock the user
 * himself out. Names of users that do not exist count alike, so that the refusal does not tell which do. The answer is
 * `too_many_requests` (429), not `unauthorized`: a client that repeats by itself should wait, and a person should know why
 * the right password does not help. A restart forgets the counts.
 */
export class LoginAttempts {
  readonly #clock: Clock;
  readonly #failures = new Map<string, { count: number; lastMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Call it before the secret is checked, and again after: guesses may come side by side. */
  refuseWhilePaused(name: string): void {
    const failures = this.#failures.get(name);
    if (!failures || failures.count < FAILURES_MAX) return;
    const leftMs = failures.lastMs + PAUSE_MS - this.#clock.nowMs();
    if (leftMs > 0) throw new AppError("too_many_requests", `Too many failed logins: try again in ${Math.ceil(leftMs / 1000)} s.`);
    this.#failures.delete(name);
  }

  failed(name: string): void {
    const count = (this.#failures.get(name)?.count ?? 0) + 1;
    this.#failures.delete(name); // So that it moves to the end of the map's order.
    this.#failures.set(name, { count, lastMs: this.#clock.nowMs() });
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > NAMES_MAX && oldest !== undefined) this.#failures.delete(oldest);
  }

  succeeded(name: string): void {
    this.#failures.delete(name);
  }
}

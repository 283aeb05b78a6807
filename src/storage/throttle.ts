import { setTimeout as sleep } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";

/** Shares a number of bytes per second among all who pass, in the order of coming. */
export class Throttle {
  #bytesPerMs: number;
  /** When all bytes that were let in so far will have passed. */
  #freeAtMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Lets only the rest pass until the answer is disposed of: `share`, from 0 to 1, is somebody else's meanwhile. */
  lend(share: number): Disposable {
    const lentBytesPerMs = this.#bytesPerMs * share;
    this.#bytesPerMs -= lentBytesPerMs;
    return { [Symbol.dispose]: () => void (this.#bytesPerMs += lentBytesPerMs) };
  }

  /** Waits until it is the bytes' turn. Waits shorter than a timer can tell are left to add up. */
  async pass(bytes: number, signal?: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    const nowMs = performance.now();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + bytes / this.#bytesPerMs;
    if (startMs - nowMs >= 1) await sleep(startMs - nowMs, undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
}

import type { RbdPlace } from "#/storage/rbd/names.ts";
import type { Rbd } from "#/tools/rbd.ts";

/** Empties a pool's trash of what has been there long enough, now and then. */
export class Trash implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #isPurging = false;

  constructor(rbd: Rbd, place: RbdPlace, intervalMs: number) {
    this.#timer = setInterval(() => void this.#purge(rbd, place), intervalMs).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #purge(rbd: Rbd, place: RbdPlace): Promise<void> {
    if (this.#isPurging) return;
    this.#isPurging = true;
    await rbd.purgeTrash(place).catch(() => {}); // An image that is in use, or a cluster that is away, waits for the next time.
    this.#isPurging = false;
  }
}

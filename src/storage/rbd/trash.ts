import type { Rbd } from "#/tools/rbd.ts";
import type { RbdPlace } from "#/storage/rbd/names.ts";

/** Empties a pool's trash of what has been there long enough, now and then. */
export class Trash implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #purging: Promise<void> | undefined;

  constructor(rbd: Rbd, place: RbdPlace, intervalMs: number) {
    const purge = () => {
      // An image that is in use, or a cluster that is away, waits for the next time.
      this.#purging ??= rbd.purgeTrash(place).then(undefined, () => {}).finally(() => (this.#purging = undefined));
    };
    this.#timer = setInterval(purge, intervalMs).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

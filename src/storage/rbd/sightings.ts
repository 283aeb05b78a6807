import { SECOND_MS } from "#/lib/units.ts";
import type { StoredDisk } from "#/storage/driver.ts";
import type { RbdImage, RbdSnapshot } from "#/tools/rbd.ts";

/** From the plan of a volume to the conversion of its image; from the clone of an image to the guest that opens it. */
const FRESH_MS = 3 * SECOND_MS;

/** Which images were there a moment ago: each look is a process, and who opens one hears from QEMU if it has gone since. */
export class Sightings {
  readonly #nowMs: () => number;
  /** The oldest first. */
  readonly #seen = new Map<string, Sighting>();

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** `stored`: all there is to say of a disk that never changes again. */
  note(image: RbdImage | RbdSnapshot, stored?: StoredDisk): void {
    const key = keyOf(image);
    this.#seen.delete(key);
    this.#seen.set(key, { atMs: this.#nowMs(), stored });
    for (const [oldest, sighting] of this.#seen) {
      if (this.#isFresh(sighting)) break;
      this.#seen.delete(oldest);
    }
  }

  /** With its snapshots. */
  forget({ pool, namespace, image }: RbdImage): void {
    const key = keyOf({ pool, namespace, image });
    for (const seen of [...this.#seen.keys()]) if (seen === key || seen.startsWith(`${key}@`)) this.#seen.delete(seen);
  }

  find(image: RbdImage | RbdSnapshot): Sighting | undefined {
    const sighting = this.#seen.get(keyOf(image));
    return sighting && this.#isFresh(sighting) ? sighting : undefined;
  }

  #isFresh({ atMs }: Sighting): boolean {
    return this.#nowMs() - atMs < FRESH_MS;
  }
}

interface Sighting {
  readonly atMs: number;
  readonly stored: StoredDisk | undefined;
}

function keyOf(image: RbdImage | RbdSnapshot): string {
  const name = [image.pool, image.namespace ?? "", image.image].join("/");
  return "snapshot" in image ? `${name}@${image.snapshot}` : name;
}

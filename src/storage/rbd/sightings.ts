import { SECOND_MS } from "#/lib/units.ts";
import type { RbdImage, RbdSnapshot } from "#/tools/rbd.ts";

/** From the plan of a volume to the conversion of its image. */
const FRESH_MS = 3 * SECOND_MS;

/** Which images were there a moment ago: each look is a process, and who opens one hears from QEMU if it has gone since. */
export class Sightings {
  readonly #nowMs: () => number;
  /** The oldest first. */
  readonly #seenAtMs = new Map<string, number>();

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  note(image: RbdImage | RbdSnapshot): void {
    const key = keyOf(image);
    this.#seenAtMs.delete(key);
    this.#seenAtMs.set(key, this.#nowMs());
    for (const [oldest, atMs] of this.#seenAtMs) {
      if (this.#isFresh(atMs)) break;
      this.#seenAtMs.delete(oldest);
    }
  }

  /** With its snapshots. */
  forget({ pool, namespace, image }: RbdImage): void {
    const key = keyOf({ pool, namespace, image });
    for (const seen of [...this.#seenAtMs.keys()]) if (seen === key || seen.startsWith(`${key}@`)) this.#seenAtMs.delete(seen);
  }

  has(image: RbdImage | RbdSnapshot): boolean {
    const atMs = this.#seenAtMs.get(keyOf(image));
    return atMs !== undefined && this.#isFresh(atMs);
  }

  #isFresh(atMs: number): boolean {
    return this.#nowMs() - atMs < FRESH_MS;
  }
}

function keyOf(image: RbdImage | RbdSnapshot): string {
  const name = [image.pool, image.namespace ?? "", image.image].join("/");
  return "snapshot" in image ? `${name}@${image.snapshot}` : name;
}

import { MiB, SECOND_MS } from "#/lib/units.ts";
import type { Capacity } from "#/storage/driver.ts";
import { type PoolSpace, poolSpace } from "#/tools/ceph.ts";
import type { RbdAccess } from "#/tools/rbd.ts";

/**
 * The answer takes 0.3 s of processor time, which is missing to the disk that is being made, and every new disk asks. Cinder asks once a
 * minute; the daemons themselves count every 5 s (`mgr_stats_period`).
 */
const FRESH_MS = 15 * SECOND_MS;
const STALE_MS = 60 * SECOND_MS;

/** The space of a Ceph pool, asked for at most every 15 seconds; a stale answer is given once more while a new one is on its way. */
export class RbdSpace {
  readonly #access: RbdAccess;
  readonly #pool: string;
  #known: { readonly capacity: Capacity; readonly atMs: number } | undefined;
  #asking: Promise<Capacity> | undefined;

  constructor(access: RbdAccess, pool: string) {
    this.#access = access;
    this.#pool = pool;
  }

  async capacity(): Promise<Capacity> {
    const ageMs = this.#known ? performance.now() - this.#known.atMs : Infinity;
    if (!this.#known || ageMs > STALE_MS) return this.ask();
    if (ageMs > FRESH_MS) this.ask().catch(() => {}); // Whoever asks when the answer is too old hears of it.
    return this.#known.capacity;
  }

  /** As it is now. */
  ask(): Promise<Capacity> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  /** Not even an object more. */
  async isFull(): Promise<boolean> {
    return (await this.ask()).freeBytes < FULL_BYTES;
  }

  async #ask(): Promise<Capacity> {
    const capacity = capacityOf(await poolSpace(this.#access, this.#pool));
    this.#known = { capacity, atMs: performance.now() };
    return capacity;
  }
}

const FULL_BYTES = 4 * MiB;

/** As Cinder counts (cinder/volume/drivers/rbd.py, _get_pool_stats): what is there and what fits yet; a quota is the whole. */
function capacityOf({ storedBytes, availableBytes, quotaBytes }: PoolSpace): Capacity {
  const totalBytes = Math.min(storedBytes + availableBytes, quotaBytes ?? Infinity);
  return { totalBytes, freeBytes: Math.max(0, Math.min(availableBytes, totalBytes - storedBytes)) };
}

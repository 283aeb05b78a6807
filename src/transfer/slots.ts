import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { MiB } from "#/lib/units.ts";

/** What a disk takes in one write: larger ones are not faster, smaller ones cost more calls. */
export const SLOT_BYTES = 4 * MiB;
/** What one transfer has use for: one being filled, four being written, one that only the hashes still read. */
const PER_TRANSFER_MAX = 6;
/** For all transfers together: enough for four at full speed. Beyond it each gets one, so that a slow client holds nobody up. */
const FOR_ALL_MAX = 4 * PER_TRANSFER_MAX;

/** Page-aligned bytes that other threads can read. */
export type SharedBlock = Uint8Array<SharedArrayBuffer>;

/**
 * Blocks of page-aligned memory that threads share, lent to one transfer: its memory is the same whatever the size of the disk.
 * They are used over and over, by one transfer after the other: shared memory that is dropped lives on until each thread
 * that saw it happens to collect it, and eight uploads at a time came to 3 GB.
 */
export class Slots implements Disposable {
  readonly #taken = new Set<SharedBlock>();
  #waiting: ((slot: SharedBlock) => void) | undefined;

  /** Waits, where there is none to be had, until one of its own is given back; one caller at a time. */
  async take(): Promise<SharedBlock> {
    const slot = this.#taken.size < PER_TRANSFER_MAX ? lend(this.#taken.size === 0) : undefined;
    if (!slot) return new Promise((resolve) => (this.#waiting = resolve));
    this.#taken.add(slot);
    return slot;
  }

  giveBack(slot: SharedBlock): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) return waiting(slot);
    this.#taken.delete(slot);
    keep(slot);
  }

  /** Only when nobody reads or writes a block any more. */
  [Symbol.dispose](): void {
    for (const slot of this.#taken) keep(slot);
    this.#taken.clear();
  }
}

const free: SharedBlock[] = [];
let madeCount = 0;

/** The last one that was given back comes first: then few are ever touched where transfers are slow. */
function lend(isNeeded: boolean): SharedBlock | undefined {
  const slot = free.pop();
  if (slot || (!isNeeded && madeCount >= FOR_ALL_MAX)) return slot;
  madeCount += 1;
  return alignedBlocks(1, SLOT_BYTES)[0];
}

function keep(slot: SharedBlock): void {
  if (free.length < FOR_ALL_MAX) free.push(slot);
  else madeCount -= 1;
}

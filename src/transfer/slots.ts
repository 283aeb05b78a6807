import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { MiB } from "#/lib/units.ts";

/** What a disk takes in one write: larger ones are not faster, smaller ones cost more calls. */
export const SLOT_BYTES = 4 * MiB;
/** One being filled, four being written and one to spare. */
const SLOTS = 6;

/** Page-aligned bytes that other threads can read. */
export type SharedBlock = Uint8Array<SharedArrayBuffer>;

/**
 * A few page-aligned blocks of memory that threads can share, used over and over: the memory of a transfer is the same
 * whatever the size of the disk. (A new block for each step grew a process to 1.3 GB before it was collected.)
 */
export class Slots implements Disposable {
  #free: SharedBlock[];
  readonly #all: readonly SharedBlock[];
  #waiting: ((slot: SharedBlock) => void) | undefined;

  constructor() {
    this.#all = kept.pop() ?? alignedBlocks(SLOTS, SLOT_BYTES);
    this.#free = [...this.#all];
  }

  /** Waits for a free block; one caller at a time. The last one given back comes first: a slow transfer touches few. */
  async take(): Promise<SharedBlock> {
    return this.#free.pop() ?? new Promise((resolve) => (this.#waiting = resolve));
  }

  giveBack(slot: SharedBlock): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting(slot);
    else this.#free.push(slot);
  }

  /** Only when nobody reads or writes a block any more. */
  [Symbol.dispose](): void {
    this.#free = [];
    if (kept.length < KEPT_MAX) kept.push(this.#all);
  }
}

/** Memory of finished transfers for the next ones. */
const kept: (readonly SharedBlock[])[] = [];
const KEPT_MAX = 1;

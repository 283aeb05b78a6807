import { crc32 } from "node:zlib";

/** Where a block was seen first: `file` and `block` are numbers that the caller gives out. */
export interface SeenBlock {
  readonly file: number;
  readonly block: number;
  /** Its place on the file system; −1 where it has none of its own. */
  readonly physicalBytes: number;
}

/** A slot is one of so many, by the block's content; the next ones are tried where it is taken. */
const WAYS = 8;

/**
 * Remembers blocks by their content, in a memory that does not grow: where it is full, a new block takes the place of another.
 * What it says is a guess, which the file system checks: two blocks may have the same fingerprint, and a block may have changed since.
 */
export class BlockIndex {
  readonly #slots: number;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  readonly #file: Uint32Array;
  readonly #block: Uint32Array;
  readonly #physical: Float64Array;
  #turn = 0;

  /** 24 bytes of memory for each of `entries`. */
  constructor(entries: number) {
    this.#slots = Math.max(WAYS, entries);
    this.#high = new Uint32Array(this.#slots);
    this.#low = new Uint32Array(this.#slots);
    this.#file = new Uint32Array(this.#slots); // 0 is an empty slot: files count from 1 here.
    this.#block = new Uint32Array(this.#slots);
    this.#physical = new Float64Array(this.#slots);
  }

  /** The block with that content that was seen first; where there is none, `block` is remembered. */
  findOrAdd({ high, low }: Fingerprint, block: SeenBlock): SeenBlock | undefined {
    const slot = this.#slotOf(high, low);
    const isKnown = this.#file[slot] !== 0 && this.#high[slot] === high && this.#low[slot] === low;
    if (isKnown) return { file: (this.#file[slot] ?? 0) - 1, block: this.#block[slot] ?? 0, physicalBytes: this.#physical[slot] ?? -1 };
    this.#put(slot, { high, low }, block);
    return undefined;
  }

  /** Remembers the block in place of another with that content, which turned out to be gone or changed. */
  replace(fingerprint: Fingerprint, block: SeenBlock): void {
    this.#put(this.#slotOf(fingerprint.high, fingerprint.low), fingerprint, block);
  }

  #put(slot: number, { high, low }: Fingerprint, { file, block, physicalBytes }: SeenBlock): void {
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#file[slot] = file + 1;
    this.#block[slot] = block;
    this.#physical[slot] = physicalBytes;
  }

  /** The slot with the content, else an empty one near it, else one in turn. */
  #slotOf(high: number, low: number): number {
    const first = low % this.#slots;
    for (let way = 0; way < WAYS; way++) {
      const slot = (first + way) % this.#slots;
      if (this.#file[slot] === 0 || (this.#high[slot] === high && this.#low[slot] === low)) return slot;
    }
    this.#turn = (this.#turn + 1) % WAYS;
    return (first + this.#turn) % this.#slots;
  }
}

export interface Fingerprint {
  readonly high: number;
  readonly low: number;
}

/** 64 bits of a block: the checksums of its halves, which cost a tenth of a cryptographic hash. */
export function fingerprint(block: Uint8Array): Fingerprint {
  const half = block.length >> 1;
  return { high: crc32(block.subarray(0, half)), low: crc32(block.subarray(half)) };
}

/** Remembers places on the file system, up to so many; beyond, it forgets some. */
export class PlaceSet {
  readonly #slots: Float64Array;

  /** 8 bytes of memory for each of `entries`. */
  constructor(entries: number) {
    this.#slots = new Float64Array(entries | 1).fill(-1); // Odd, so that places at even distances do not meet in a few slots.
  }

  /** Whether it was there already. */
  addTo(placeBytes: number): boolean {
    const slot = Math.floor(placeBytes / 4096) % this.#slots.length;
    if (this.#slots[slot] === placeBytes) return true;
    this.#slots[slot] = placeBytes;
    return false;
  }
}

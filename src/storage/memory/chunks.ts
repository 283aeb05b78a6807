import { hash } from "node:crypto";
import { AppError } from "#/domain/errors.ts";
import { formatBytes, KiB } from "#/lib/units.ts";

export const CHUNK_BYTES = 64 * KiB;

/** A piece of one or more disks. It is written before it is shared, since disks are filled once: never afterwards. */
export interface Chunk {
  readonly bytes: Uint8Array;
  shares: number;
}

/** The pool's space, counted to the chunk. */
export class ChunkSpace {
  readonly totalBytes: number;
  #usedBytes = 0;

  constructor(totalBytes: number) {
    this.totalBytes = totalBytes;
  }

  get freeBytes(): number {
    return this.totalBytes - this.#usedBytes;
  }

  allocate(): Chunk {
    if (this.freeBytes < CHUNK_BYTES) {
      throw new AppError("pool_full", `all of the ${formatBytes(this.totalBytes)} are in use`);
    }
    this.#usedBytes += CHUNK_BYTES;
    return { bytes: new Uint8Array(CHUNK_BYTES), shares: 1 };
  }

  share(chunk: Chunk): Chunk {
    chunk.shares += 1;
    return chunk;
  }

  release(chunk: Chunk): void {
    chunk.shares -= 1;
    if (chunk.shares === 0) this.#usedBytes -= CHUNK_BYTES;
  }
}

/** Sparse bytes: where there is no chunk, there are zeroes. */
export class SparseBytes {
  readonly #space: ChunkSpace;
  readonly #chunks = new Map<number, Chunk>();

  constructor(space: ChunkSpace) {
    this.#space = space;
  }

  get allocatedBytes(): number {
    return this.#chunks.size * CHUNK_BYTES;
  }

  /** The bytes that share a chunk with `offsetBytes`, from there to the chunk's end; undefined in a hole. */
  at(offsetBytes: number): Uint8Array | undefined {
    return this.#chunks.get(Math.floor(offsetBytes / CHUNK_BYTES))?.bytes.subarray(offsetBytes % CHUNK_BYTES);
  }

  write(block: Uint8Array, offsetBytes: number): void {
    for (let done = 0; done < block.length; ) {
      const inChunk = (offsetBytes + done) % CHUNK_BYTES;
      const part = block.subarray(done, done + CHUNK_BYTES - inChunk);
      this.#own(Math.floor((offsetBytes + done) / CHUNK_BYTES)).set(part, inChunk);
      done += part.length;
    }
  }

  /** The same content, sharing every chunk. */
  share(): SparseBytes {
    const twin = new SparseBytes(this.#space);
    for (const [index, chunk] of this.#chunks) twin.#chunks.set(index, this.#space.share(chunk));
    return twin;
  }

  /** Shares each chunk that `known` has already, and makes the others known, by their hash. Returns the bytes that are shared from now on. */
  dedup(known: Map<string, Chunk>): number {
    let sharedBytes = 0;
    for (const [index, chunk] of this.#chunks) {
      const twin = known.getOrInsert(hash("sha256", chunk.bytes), chunk);
      if (twin === chunk) continue;
      this.#chunks.set(index, this.#space.share(twin));
      this.#space.release(chunk);
      sharedBytes += CHUNK_BYTES;
    }
    return sharedBytes;
  }

  /** Calls `visit` with each chunk. */
  forEach(visit: (chunk: Chunk) => void): void {
    for (const chunk of this.#chunks.values()) visit(chunk);
  }

  release(): void {
    for (const chunk of this.#chunks.values()) this.#space.release(chunk);
    this.#chunks.clear();
  }

  #own(index: number): Uint8Array {
    const chunk = this.#chunks.get(index) ?? this.#space.allocate();
    this.#chunks.set(index, chunk);
    return chunk.bytes;
  }
}

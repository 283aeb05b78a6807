import { setTimeout as sleep } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { asAppError } from "#/domain/errors.ts";
import { MiB } from "#/lib/units.ts";
import type { ByteRange } from "#/storage/driver.ts";

/** Bytes that lie somewhere else, and that any range can be fetched of. */
export interface RemoteBytes {
  readonly sizeBytes: number;
  fetch(range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** A request takes as long as some 100 KiB more: small reads near each other are one. */
const CHUNK_BYTES = MiB;
/** QEMU has 8 reads of 2 MiB under way, and looks into a few tables in between. */
const CHUNKS_MAX = 24;
const ATTEMPTS_MAX = 4;
const RETRY_MS = 200;

/** QEMU counts in these. */
const SECTOR_BYTES = 512;

/**
 * Remote bytes in chunks, of which the last used are kept: what QEMU asks for in small pieces is fetched once. The last
 * sector is filled up with zeroes.
 */
export class ChunkReader {
  readonly sizeBytes: number;
  readonly #remote: RemoteBytes;
  readonly #signal: AbortSignal;
  /** By number; the longest unused comes first. */
  readonly #chunks = new Map<number, Promise<Uint8Array>>();

  /** `signal` ends what is under way, and all that comes after. */
  constructor(remote: RemoteBytes, signal: AbortSignal) {
    this.sizeBytes = Math.ceil(remote.sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
    this.#remote = remote;
    this.#signal = signal;
  }

  /** The bytes in pieces of the chunks themselves: nothing is copied, and nobody may write to them. */
  async read(start: number, end: number): Promise<Uint8Array[]> {
    const first = Math.floor(start / CHUNK_BYTES);
    const count = Math.max(1, Math.ceil(end / CHUNK_BYTES) - first);
    const chunks = await Promise.all(Array.from({ length: count }, (_, i) => this.#chunk(first + i)));
    return chunks.map((chunk, i) => {
      const at = (first + i) * CHUNK_BYTES;
      return chunk.subarray(Math.max(0, start - at), end - at);
    });
  }

  #chunk(number: number): Promise<Uint8Array> {
    const chunk = this.#chunks.get(number) ?? this.#fetch(number);
    this.#chunks.delete(number);
    this.#chunks.set(number, chunk);
    for (const oldest of this.#chunks.keys()) {
      if (this.#chunks.size <= CHUNKS_MAX) break;
      this.#chunks.delete(oldest);
    }
    return chunk;
  }

  #fetch(number: number): Promise<Uint8Array> {
    const start = number * CHUNK_BYTES;
    const chunk = this.#fetchPatiently({ start, end: Math.min(start + CHUNK_BYTES, this.#remote.sizeBytes) });
    chunk.catch(() => this.#chunks.get(number) === chunk && this.#chunks.delete(number)); // The next one tries anew.
    return chunk;
  }

  async #fetchPatiently(range: ByteRange): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt++) {
      try {
        throwIfCancelled(this.#signal);
        return await this.#assemble(range);
      } catch (error) {
        if (asAppError(error)?.code !== "pool_unavailable" || attempt === ATTEMPTS_MAX) throw error;
        await sleep(RETRY_MS * 2 ** (attempt - 1), undefined, { signal: this.#signal }).catch(() => throwIfCancelled(this.#signal));
      }
    }
  }

  /** Whole sectors. */
  async #assemble(range: ByteRange): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.ceil((range.end - range.start) / SECTOR_BYTES) * SECTOR_BYTES);
    let filled = 0;
    for await (const part of this.#remote.fetch(range, this.#signal)) {
      bytes.set(part, filled);
      filled += part.length;
    }
    return bytes;
  }
}

import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB } from "#/lib/units.ts";
import { dataRuns } from "#/lib/zeroes.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { type DiskReader, openReader, openWriter, type RawWriter } from "#/tools/qemu-nbd.ts";
import { Throttle } from "#/storage/throttle.ts";

/** A request of this size costs little more than its bytes, and this many hide the way to storage in a network. */
const [PIECE_BYTES, PIECES_MAX] = [256 * KiB, 16] as const;
/** Zeroes shorter than a cluster of qcow2 save nothing: they are written with the data around them. */
const GRANULE_BYTES = 64 * KiB;

export interface ChangesCopy {
  readonly source: BlockNode;
  readonly target: BlockNode;
  /** In any order; what lies beyond the end of the source is left out. */
  readonly changes: AsyncIterable<ByteRange> | Iterable<ByteRange>;
  readonly signal?: AbortSignal | undefined;
  /** How many bytes of the ranges are done. */
  readonly onProgress?: ((doneBytes: number) => void) | undefined;
  readonly bytesPerSecondMax?: number | undefined;
}

export interface ChangesCopied {
  /** In all of the ranges, holes counted. */
  readonly bytesCovered: number;
  /** That were no holes of the source. */
  readonly bytesRead: number;
  /** As data. */
  readonly bytesWritten: number;
  /** Made to read as zeroes, without sending any. */
  readonly bytesZeroed: number;
}

/**
 * Copies only some ranges of what a guest sees, from one disk to the same places of another that is at least as long and that nobody else
 * writes to; both may be of any format. All of it is on stable storage in the end; a copy that fails has written some of it, and can be repeated.
 * Its memory is the same whatever the ranges. Errors: `not_supported` where the target is too short; else as `openReader()`, and of `changes`.
 */
export async function copyChanges(copy: ChangesCopy): Promise<ChangesCopied> {
  await using source = await openReader(copy.source, copy);
  await using target = await openWriter(copy.target, copy);
  const work = new Copying(source, target, copy);
  await work.run(copy.changes);
  await target.flush();
  throwIfCancelled(copy.signal);
  return work.counts;
}

class Copying {
  readonly counts = { bytesCovered: 0, bytesRead: 0, bytesWritten: 0, bytesZeroed: 0 };
  readonly #source: DiskReader;
  readonly #target: RawWriter;
  readonly #options: Pick<ChangesCopy, "signal" | "onProgress">;
  readonly #throttle: Throttle | undefined;
  readonly #buffers: Uint8Array[] = Array.from({ length: PIECES_MAX }, () => new Uint8Array(PIECE_BYTES));
  readonly #underWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(source: DiskReader, target: RawWriter, { signal, onProgress, bytesPerSecondMax }: ChangesCopy) {
    this.#source = source;
    this.#target = target;
    this.#options = { signal, onProgress };
    this.#throttle = bytesPerSecondMax ? new Throttle(bytesPerSecondMax) : undefined;
  }

  async run(changes: ChangesCopy["changes"]): Promise<void> {
    try {
      for await (const range of changes) for (const piece of piecesOf(this.#inside(range))) await this.#begin(piece);
    } finally {
      await Promise.all(this.#underWay);
    }
    this.#check();
  }

  #inside({ start, end }: ByteRange): ByteRange {
    const range = { start, end: Math.min(end, this.#source.sizeBytes) };
    if (range.end <= this.#target.sizeBytes) return range;
    throw new AppError("not_supported", `the target ends at byte ${this.#target.sizeBytes}, before what is to be copied (up to ${range.end})`);
  }

  /** Waits while as many as may be are under way. */
  async #begin(piece: ByteRange): Promise<void> {
    while (this.#buffers.length === 0) await Promise.race(this.#underWay);
    this.#check();
    throwIfCancelled(this.#options.signal);
    const buffer = this.#buffers.pop() as Uint8Array;
    const work = this.#copy(piece, buffer.subarray(0, piece.end - piece.start))
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#buffers.push(buffer);
        this.#underWay.delete(work);
      });
    this.#underWay.add(work);
  }

  async #copy({ start, end }: ByteRange, block: Uint8Array): Promise<void> {
    const { zero } = await this.#source.read(block, start);
    if (zero) await this.#zero(start, end);
    else await this.#write(block, start);
    this.counts.bytesCovered += block.length;
    this.#options.onProgress?.(this.counts.bytesCovered);
  }

  /** Zeroes that were kept as data do not become data again. */
  async #write(block: Uint8Array, offset: number): Promise<void> {
    this.counts.bytesRead += block.length;
    await this.#throttle?.pass(block.length, this.#options.signal);
    let at = 0;
    for (const { start, end } of dataRuns(block, GRANULE_BYTES)) {
      await this.#zero(offset + at, offset + start);
      await this.#target.write(block.subarray(start, end), offset + start);
      this.counts.bytesWritten += end - start;
      at = end;
    }
    await this.#zero(offset + at, offset + block.length);
  }

  async #zero(start: number, end: number): Promise<void> {
    if (start === end) return;
    await this.#target.writeZeroes(start, end - start);
    this.counts.bytesZeroed += end - start;
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

/** The range, cut at the multiples of a piece's size: so the cuts fall between the clusters of both disks. */
function* piecesOf({ start, end }: ByteRange): Iterable<ByteRange> {
  for (let at = start; at < end; ) {
    const next = Math.min(end, (Math.floor(at / PIECE_BYTES) + 1) * PIECE_BYTES);
    yield { start: at, end: next };
    at = next;
  }
}

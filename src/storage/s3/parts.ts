import { AppError } from "#/domain/errors.ts";
import { formatBytes, MiB } from "#/lib/units.ts";
import { PARTS_MAX } from "#/storage/s3/multipart.ts";

/** One part of an object: its number, from 1, and the bytes that it has. */
export interface Part {
  readonly number: number;
  readonly start: number;
  readonly end: number;
}

/** After so many parts they become twice as large: a stream of unknown length comes to 10,000 parts only after some TiB. */
const PARTS_OF_ONE_SIZE = 1000;
/** For what is known of the size; the rest is for content that turns out longer. */
const PARTS_FOR_KNOWN_MAX = 8000;

/**
 * Cuts an object of `sizeBytes`, as far as that is known, or more, into parts of `partSizeBytes`, or of so many MiB that the
 * number of parts that S3 allows is enough. All follows from these two numbers.
 */
export class PartLayout {
  readonly #firstBytes: number;
  /** So many parts have the first size. */
  readonly #firstCount: number;

  constructor(partSizeBytes: number, sizeBytes: number) {
    this.#firstBytes = Math.max(partSizeBytes, Math.ceil(sizeBytes / (PARTS_FOR_KNOWN_MAX * MiB)) * MiB);
    this.#firstCount = Math.max(PARTS_OF_ONE_SIZE, Math.ceil(sizeBytes / this.#firstBytes));
  }

  /** The part that has the byte. `too_large` where there are not so many parts. */
  at(offset: number): Part {
    let [number, start, sizeBytes, count] = [1, 0, this.#firstBytes, this.#firstCount];
    while (offset >= start + count * sizeBytes) {
      [number, start, sizeBytes, count] = [number + count, start + count * sizeBytes, 2 * sizeBytes, PARTS_OF_ONE_SIZE];
    }
    const index = Math.floor((offset - start) / sizeBytes);
    if (number + index > PARTS_MAX) throw new AppError("too_large", `an object of ${formatBytes(offset)} takes more than ${PARTS_MAX} parts: set a larger partSizeBytes`);
    return { number: number + index, start: start + index * sizeBytes, end: start + (index + 1) * sizeBytes };
  }
}

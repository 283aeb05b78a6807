import { HEAD_BYTES, TAIL_BYTES, WISH_MAX_BYTES, type End, type Reading, type Wish } from "./reading.ts";

const EMPTY = new Uint8Array();

/** The first HEAD_BYTES of a stream. */
export class Head {
  readonly #bytes = new Uint8Array(HEAD_BYTES);
  #length = 0;

  take(piece: Uint8Array): void {
    if (this.#length === HEAD_BYTES) return;
    const part = piece.subarray(0, HEAD_BYTES - this.#length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
  }

  slice(offset: number, end: number): Uint8Array {
    return this.#bytes.subarray(Math.min(offset, this.#length), Math.min(end, this.#length));
  }

  get retainedBytes(): number {
    return HEAD_BYTES;
  }
}

/** The last TAIL_BYTES of a stream. Small pieces are gathered, so that each byte moves about once. */
export class Tail {
  readonly #bytes = new Uint8Array(4 * TAIL_BYTES);
  #length = 0;

  take(chunk: Uint8Array): void {
    const part = chunk.subarray(Math.max(0, chunk.length - TAIL_BYTES));
    if (this.#length + part.length > this.#bytes.length) {
      this.#bytes.copyWithin(0, this.#length - TAIL_BYTES, this.#length);
      this.#length = TAIL_BYTES;
    }
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
  }

  /** What comes next does not follow what was taken. */
  clear(): void {
    this.#length = 0;
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(Math.max(0, this.#length - TAIL_BYTES), this.#length);
  }

  get retainedBytes(): number {
    return this.#bytes.length;
  }
}

/** Carries one reading along the stream: collects what it wishes for, and answers as soon as that has gone by. */
export class StreamReader {
  readonly #reading: Reading;
  readonly #head: Head;
  #wish: Wish | undefined;
  /** What came of a wish that does not lie in the head. */
  #bytes = EMPTY;
  #filled = 0;

  constructor(reading: Reading, head: Head) {
    this.#reading = reading;
    this.#head = head;
    this.#accept(this.#reading.next(), 0);
  }

  get done(): boolean {
    return this.#wish === undefined;
  }

  /** The place in the stream where the next answer is due; Infinity if none but the end can be. */
  get dueAt(): number {
    return this.#wish === undefined || this.#wish === "end" ? Number.POSITIVE_INFINITY : this.#wish.offset + this.#wish.length;
  }

  /** The place of the first byte that it waits for; Infinity if only the end is. */
  get wantsFrom(): number {
    return this.#wish === undefined || this.#wish === "end" ? Number.POSITIVE_INFINITY : this.#wish.offset;
  }

  get retainedBytes(): number {
    return this.#bytes.length;
  }

  /** Takes the piece of the stream that begins at `position`. */
  take(piece: Uint8Array, position: number): void {
    if (this.#bytes.length === 0 || this.#wish === undefined || this.#wish === "end") return;
    const { offset, length } = this.#wish;
    const part = piece.subarray(Math.max(0, offset - position), Math.max(0, offset + length - position));
    this.#bytes.set(part, this.#filled);
    this.#filled += part.length;
  }

  /** Answers all wishes that are due at `position`. */
  advance(position: number): void {
    while (this.dueAt <= position) this.#answer(position);
  }

  /** Answers the remaining wishes with what there is. */
  finish(end: End): void {
    while (this.#wish !== undefined) {
      if (this.#wish === "end") this.#accept(this.#reading.next(end), end.sizeBytes);
      else this.#answer(end.sizeBytes);
    }
  }

  #answer(position: number): void {
    const { offset, length } = this.#wish as Exclude<Wish, "end">;
    const inHead = offset + length <= HEAD_BYTES || position <= HEAD_BYTES;
    const answer = inHead ? this.#head.slice(offset, offset + length) : this.#bytes.subarray(0, this.#filled);
    this.#accept(this.#reading.next(answer), position);
  }

  /** Prepares for the next wish, made at `position`. One for bytes that went by is answered at once, with undefined. */
  #accept({ done, value }: IteratorResult<Wish, void>, position: number): void {
    this.#bytes = EMPTY;
    this.#filled = 0;
    this.#wish = done ? undefined : (value as Wish);
    if (this.#wish === undefined || this.#wish === "end") return;

    const { offset, length } = this.#wish;
    if (length > WISH_MAX_BYTES) throw new Error(`Broken invariant: a wish for ${length} bytes`);
    if (offset + length <= HEAD_BYTES) return;
    if (offset < position && position > HEAD_BYTES) return this.#accept(this.#reading.next(undefined), position);
    this.#bytes = new Uint8Array(length);
    this.take(this.#head.slice(offset, Math.min(position, HEAD_BYTES)), offset);
  }
}

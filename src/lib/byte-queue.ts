import type { Readable } from "node:stream";

/** A stream as a queue of bytes: whoever reads a protocol takes as many as the next part has. One reader at a time. */
export class ByteQueue {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: Readable) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** The next `count` bytes; throws where the stream ends before. */
  async take(count: number): Promise<Buffer> {
    if (this.#rest.length >= count) return this.#shift(count);
    const bytes = Buffer.alloc(count);
    await this.fill(bytes);
    return bytes;
  }

  /** The next bytes, into `target`. */
  async fill(target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      if (this.#rest.length === 0) await this.#more();
      const part = this.#shift(Math.min(this.#rest.length, target.length - done));
      part.copy(target, done); // `target.set` is slow where the memory is shared.
      done += part.length;
    }
  }

  #shift(count: number): Buffer {
    const part = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return part;
  }

  async #more(): Promise<void> {
    const { done, value } = await this.#chunks.next();
    if (done) throw new Error("the stream ended in the middle");
    this.#rest = value;
  }
}

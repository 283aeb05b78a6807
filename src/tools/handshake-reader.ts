import type { Duplex } from "node:stream";

/**
 * Takes as many bytes of a stream as the next part of a handshake has, and no more: what comes behind them stays in the stream, for whoever has it
 * afterwards. One reader at a time. It listens as long as it lives: a listener that comes and goes would be told of the same bytes again and again.
 */
export class HandshakeReader implements Disposable {
  readonly #stream: Duplex;
  #wake = () => {};
  readonly #onMoved = () => this.#wake();

  constructor(stream: Duplex) {
    this.#stream = stream;
    for (const event of EVENTS) stream.on(event, this.#onMoved);
  }

  /** Undefined where the stream ends before. */
  async take(count: number): Promise<Buffer | undefined> {
    if (count === 0) return Buffer.alloc(0);
    for (;;) {
      const bytes: Buffer | null = this.#stream.read(count);
      if (bytes?.length === count) return bytes;
      if (bytes || this.#stream.readableEnded || this.#stream.destroyed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  [Symbol.dispose](): void {
    for (const event of EVENTS) this.#stream.off(event, this.#onMoved);
  }
}

const EVENTS = ["readable", "end", "close"] as const;

import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { Semaphore } from "#/lib/semaphore.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import type { MultipartUpload } from "#/storage/s3/multipart.ts";
import type { Part, PartLayout } from "#/storage/s3/parts.ts";

export interface WriterOptions {
  readonly layout: PartLayout;
  /** Parts under way at once; one more is being filled. */
  readonly partsAtOnce: number;
  readonly signal?: AbortSignal | undefined;
}

/** Gathers blocks in parts, and sends a part when the blocks have gone past it. What no block came for is zeroes. */
export class S3Writer implements DiskWriter {
  /** A block only has to be copied: more of them at once would gain nothing, and could come in any order. */
  readonly concurrency = 1;
  readonly #upload: MultipartUpload;
  readonly #layout: PartLayout;
  readonly #signal: AbortSignal | undefined;
  readonly #permits: Semaphore;
  readonly #stop = new AbortController();
  readonly #sending = new Set<Promise<void>>();
  /** The part that is being filled; all before it are sent or on their way. */
  #part: Part;
  /** Its bytes; none while all of it is zeroes. */
  #bytes: Uint8Array | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(upload: MultipartUpload, { layout, partsAtOnce, signal }: WriterOptions) {
    this.#upload = upload;
    this.#layout = layout;
    this.#signal = signal;
    this.#permits = new Semaphore(partsAtOnce);
    this.#part = layout.at(0);
    signal?.addEventListener("abort", this.#cancel);
  }

  async write(block: Uint8Array, offsetBytes: number): Promise<void> {
    this.#check();
    for (let done = 0; done < block.length; ) {
      const at = offsetBytes + done;
      await this.#reach(at);
      this.#bytes ??= new Uint8Array(this.#part.end - this.#part.start);
      const piece = block.subarray(done, done + this.#part.end - at);
      this.#bytes.set(piece, at - this.#part.start);
      done += piece.length;
    }
  }

  async finish(sizeBytes: number): Promise<void> {
    try {
      this.#check();
      await this.#reach(Math.max(0, sizeBytes - 1));
      await this.#send(sizeBytes);
      await Promise.all(this.#sending);
      this.#check();
      await this.#upload.complete();
    } catch (error) {
      await this.abort();
      throw error;
    }
    this.#end();
  }

  async abort(): Promise<void> {
    this.#end();
    this.#stop.abort();
    await Promise.all(this.#sending); // A part that came after the end of its upload would stay for ever.
    await this.#upload.abort();
  }

  readonly #cancel = () => this.#stop.abort();

  /** Goes on to the part that has the byte. */
  async #reach(offset: number): Promise<void> {
    if (offset < this.#part.start) throw new Error(`Broken invariant: a block for byte ${offset} comes after byte ${this.#part.start} was reached`);
    while (offset >= this.#part.end) {
      await this.#send(this.#part.end);
      this.#part = this.#layout.at(this.#part.end);
    }
  }

  /** Sends the part as far as `end`, when it is its turn. */
  async #send(end: number): Promise<void> {
    const { number, start } = this.#part;
    const body = (this.#bytes ?? new Uint8Array(end - start)).subarray(0, end - start);
    this.#bytes = undefined;
    const permit = await this.#permits.take(this.#stop.signal).catch(() => this.#check());
    const sent = this.#upload
      .put(number, body, this.#stop.signal)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        permit?.[Symbol.dispose]();
        this.#sending.delete(sent);
      });
    this.#sending.add(sent);
    this.#check();
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#stop.abort();
  }

  #check(): void {
    throwIfCancelled(this.#signal);
    if (this.#failure) throw this.#failure.error;
    if (this.#stop.signal.aborted) throw new AppError("cancelled", "the upload was given up");
  }

  #end(): void {
    this.#signal?.removeEventListener("abort", this.#cancel);
  }
}

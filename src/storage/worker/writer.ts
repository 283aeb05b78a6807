import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { DATA_BYTES_MAX, type Message } from "#/lib/conversation.ts";
import { isZero } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { errorOf, type WorkerCall } from "#/storage/worker/call.ts";

type Waiting = PromiseWithResolvers<void>;

/** Sends a new disk to a worker; zeroes are told and not sent. */
export class WorkerWriter implements DiskWriter {
  readonly concurrency: number;
  readonly #call: WorkerCall;
  readonly #signal: AbortSignal | undefined;
  /** The parts that the worker has not written yet, by their offsets. */
  readonly #parts = new Map<number, Waiting>();
  readonly #ended: Promise<unknown>;

  constructor(call: WorkerCall, { concurrency, signal }: { readonly concurrency: number; readonly signal: AbortSignal | undefined }) {
    this.concurrency = concurrency;
    this.#call = call;
    this.#signal = signal;
    this.#ended = call.result((message) => this.#hear(message));
    this.#ended.catch((error: unknown) => this.#breakOff(error));
  }

  async write(block: Uint8Array, offsetBytes: number): Promise<void> {
    throwIfCancelled(this.#signal);
    if (isZero(block)) return this.#send(offsetBytes, () => this.#call.sendHole(block.length, offsetBytes));
    const starts = Array.from({ length: Math.ceil(block.length / DATA_BYTES_MAX) }, (_, i) => i * DATA_BYTES_MAX);
    await Promise.all(
      starts.map((start) => this.#send(offsetBytes + start, () => this.#call.sendData(block.subarray(start, start + DATA_BYTES_MAX), offsetBytes + start))),
    );
  }

  async finish(sizeBytes: number): Promise<void> {
    await this.#call.say({ finish: sizeBytes });
    await this.#ended;
  }

  /** A worker that is gone, or has failed, keeps nothing by itself. */
  async abort(): Promise<void> {
    await this.#call.say({ abort: true }).catch(() => {});
    await this.#ended.catch(() => {});
  }

  async #send(offset: number, send: () => Promise<void>): Promise<void> {
    const written = Promise.withResolvers<void>();
    written.promise.catch(() => {}); // It may fail while it is still being sent.
    this.#parts.set(offset, written);
    await send();
    await written.promise;
  }

  #hear(message: Message): void {
    const { written, failed, error } = message;
    const offset = Number(written ?? failed);
    const part = this.#parts.get(offset);
    this.#parts.delete(offset);
    if (failed === undefined) part?.resolve();
    else part?.reject(errorOf(error));
  }

  #breakOff(error: unknown): void {
    const reason = error instanceof Error ? error : new AppError("pool_unavailable", String(error));
    for (const part of this.#parts.values()) part.reject(reason);
    this.#parts.clear();
  }
}

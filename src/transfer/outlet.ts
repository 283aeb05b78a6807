import { setImmediate as nextTurn } from "node:timers/promises";
import { ALIGNMENT_BYTES } from "#/lib/aligned-memory.ts";
import { Semaphore } from "#/lib/semaphore.ts";
import { MiB } from "#/lib/units.ts";
import { isZero } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import type { SharedBlock, Slots } from "#/transfer/slots.ts";

/** Passing this much takes a millisecond or two. */
const TURN_BYTES = 16 * MiB;

/** What is done with each full slot; the slot is used again when it is done. */
export type Send = (block: SharedBlock, offsetBytes: number) => Promise<unknown>;

/** Gathers chunks of any length in slots, and sends each slot when it is full; several may be under way. */
export class Outlet {
  readonly #slots: Slots;
  readonly #send: Send;
  readonly #onError: (error: unknown) => void;
  readonly #underWay = new Set<Promise<void>>();
  #slot: SharedBlock | undefined;
  #filledBytes = 0;
  #offset = 0;
  #turnAt = TURN_BYTES;
  #failure: { readonly error: unknown } | undefined;
  #closed = false;

  /** After a failed send every method throws its error; `onError` hears of it at once. */
  constructor(slots: Slots, send: Send, onError: (error: unknown) => void = () => {}) {
    this.#slots = slots;
    this.#send = send;
    this.#onError = onError;
  }

  /** Copies the chunk; waits while all slots are under way. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      this.#slot ??= await this.#slots.take();
      this.#check();
      const part = chunk.subarray(done, done + this.#slot.length - this.#filledBytes);
      copyBytes(part, this.#slot, this.#filledBytes);
      this.#filledBytes += part.length;
      done += part.length;
      if (this.#filledBytes === this.#slot.length) this.#dispatch();
    }
    if (this.#offset >= this.#turnAt) await this.#giveWay();
  }

  /** As `write()`, but zeroes may be left out: for targets that begin as zeroes. */
  async writeSparse(chunk: Uint8Array): Promise<void> {
    const isAligned = (this.#offset + this.#filledBytes) % ALIGNMENT_BYTES === 0 && chunk.length % ALIGNMENT_BYTES === 0;
    if (!isAligned || !isZero(chunk)) return this.write(chunk);
    this.#check();
    this.#dispatch();
    this.#offset += chunk.length;
    if (this.#offset >= this.#turnAt) await this.#giveWay();
  }

  /** Sends what is left, and waits until all is done. */
  async flush(): Promise<void> {
    this.#dispatch();
    await Promise.all(this.#underWay);
    this.#check();
  }

  /** Takes nothing more, and waits until nobody uses a slot any more, well or not. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#underWay);
  }

  /** A source and a target that never wait (holes, memory) would keep everything else in the process waiting. */
  async #giveWay(): Promise<void> {
    this.#turnAt = this.#offset + TURN_BYTES;
    await nextTurn();
  }

  #dispatch(): void {
    const [slot, lengthBytes, offset] = [this.#slot, this.#filledBytes, this.#offset];
    if (!slot || lengthBytes === 0) return;
    [this.#slot, this.#filledBytes, this.#offset] = [undefined, 0, offset + lengthBytes];
    const work = this.#sendAndFree(slot, slot.subarray(0, lengthBytes), offset);
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
  }

  async #sendAndFree(slot: SharedBlock, block: SharedBlock, offset: number): Promise<void> {
    try {
      await this.#send(block, offset);
    } catch (error) {
      this.#failure ??= { error };
      this.#onError(error);
    } finally {
      this.#slots.giveBack(slot);
    }
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error;
    if (this.#closed) throw new Error("Broken invariant: written to after close()");
  }
}

/** What `target.set(source, offset)` does: into shared memory, from an odd address, that goes byte by byte (2 instead of 14 GiB per second). */
function copyBytes(source: Uint8Array, target: Uint8Array, offset: number): void {
  Buffer.prototype.copy.call(source, target, offset);
}

/** The writer's `write`, called as often at once as it allows. */
export function atOnce(writer: DiskWriter): Send {
  const permits = new Semaphore(writer.concurrency);
  return async (block, offsetBytes) => {
    using _ = await permits.take();
    await writer.write(block, offsetBytes);
  };
}

/** Waits until all have ended, well or not, and then throws the first failure: until then a block may be in use. */
export async function allDone(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === "rejected") throw result.reason;
}

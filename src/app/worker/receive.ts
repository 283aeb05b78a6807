import Type from "typebox";
import { type Asked, told } from "#/app/worker/asked.ts";
import { checked, Target } from "#/app/worker/calls.ts";
import { AppError } from "#/domain/errors.ts";
import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { type Conversation, DATA_BYTES_MAX, type Part } from "#/lib/conversation.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";

const Parameters = Type.Object({ target: Target });
const Finish = Type.Object({ finish: Type.Integer({ minimum: 0 }) });

/** Fills a new disk with what the asker sends. Each part is told by its offset when it is written; where the asker goes away, nothing is left. */
export async function receive({ pool, parameters, conversation, cancelled, options }: Asked): Promise<void> {
  const { target } = checked(Parameters, parameters);
  const writer = await pool.receive(target, options);
  const incoming = new Incoming(writer, conversation);
  try {
    await conversation.say({ concurrency: writer.concurrency });
    const last = await incoming.takeAll(cancelled);
    const sizeBytes = "abort" in last ? undefined : checked(Finish, last).finish;
    incoming.isEnded = true;
    await (sizeBytes === undefined ? writer.abort() : writer.finish(sizeBytes));
  } catch (error) {
    cancelled.abort();
    await incoming.settle();
    if (!incoming.isEnded) await writer.abort().catch(() => {}); // The reason is the failure before it.
    throw error;
  }
}

/** Parts on their way into a disk; each lies in a block of aligned memory, as files that are opened with O_DIRECT want it. */
class Incoming {
  /** Whoever finishes the writer ends it, also where that fails. */
  isEnded = false;
  readonly #writer: DiskWriter;
  readonly #conversation: Conversation;
  readonly #free: Uint8Array[];
  readonly #underWay = new Set<Promise<void>>();

  constructor(writer: DiskWriter, conversation: Conversation) {
    this.#writer = writer;
    this.#conversation = conversation;
    this.#free = alignedBlocks(writer.concurrency, DATA_BYTES_MAX);
  }

  /** Writes parts until the asker says how it ends. */
  async takeAll(cancelled: AbortController): Promise<Readonly<Record<string, unknown>>> {
    for (;;) {
      const part = await this.#conversation.next();
      if (!part) throw new AppError("cancelled", "the one who sent it went away");
      if (part.kind !== "message") await this.#begin(part);
      else if ("cancel" in part.value) cancelled.abort();
      else {
        await this.settle();
        return part.value;
      }
    }
  }

  async settle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #begin(part: Exclude<Part, { kind: "message" }>): Promise<void> {
    while (this.#free.length === 0) await Promise.race(this.#underWay);
    const block = this.#free.pop() as Uint8Array;
    if (part.kind === "data") await this.#conversation.take(block.subarray(0, part.lengthBytes));
    const work = (part.kind === "data" ? this.#writer.write(block.subarray(0, part.lengthBytes), part.offset) : this.#writeHole(part))
      .then(
        () => this.#conversation.say({ written: part.offset }),
        (error: unknown) => this.#conversation.say({ failed: part.offset, error: told(error) }),
      )
      .catch(() => {}) // They are gone, which takeAll() notices.
      .finally(() => {
        this.#free.push(block);
        this.#underWay.delete(work);
      });
    this.#underWay.add(work);
  }

  async #writeHole({ offset, lengthBytes }: { readonly offset: number; readonly lengthBytes: number }): Promise<void> {
    for (let done = 0; done < lengthBytes; done += ZEROES.length) await this.#writer.write(ZEROES.subarray(0, Math.min(ZEROES.length, lengthBytes - done)), offset + done);
  }
}

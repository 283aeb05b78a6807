import type { Readable, Writable } from "node:stream";
import { ByteQueue } from "#/lib/byte-queue.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";

/** What the other side says next. The bytes of `data` are taken with `take()`, before the one after is asked for. */
export type Part =
  | { readonly kind: "message"; readonly value: Message }
  | { readonly kind: "data"; readonly offset: number; readonly lengthBytes: number }
  | { readonly kind: "hole"; readonly offset: number; readonly lengthBytes: number };

/** The media type of each direction, where it is the body of a request or an answer. */
export const CONVERSATION_TYPE = "application/vnd.mica.conversation";

/** What a message has depends on the call; the reader checks it. */
export type Message = Readonly<Record<string, unknown>>;

/** Each part of data is at most so long. */
export const DATA_BYTES_MAX = MiB;
const MESSAGE_BYTES_MAX = MiB;

const KINDS = ["message", "data", "hole"] as const;
/** Kind and length as u32, offset as u64. */
const HEAD_BYTES = 16;

/** As often each side shows that it is there. */
const SIGN_OF_LIFE_MS = 5 * SECOND_MS;
/** Who was silent for so long is gone: a host that lost its power says no good-bye. */
const SILENCE_MS_MAX = 30 * SECOND_MS;
/** Who has heard the last of a conversation ends it too. */
const LEAVE_MS_MAX = 5 * SECOND_MS;

/**
 * Two sides that tell each other messages (JSON) and parts of a disk, over a stream in each direction. Each part is
 * a head of 16 bytes with what follows it. Both show now and then that they are there, so that neither waits for ever.
 */
export class Conversation implements Disposable {
  readonly #input: Readable;
  readonly #queue: ByteQueue;
  readonly #output: Writable;
  readonly #silenceMsMax: number;
  readonly #signsOfLife: NodeJS.Timeout;
  /** Ends the writes under way: a stream that is closed does not always say so to each. */
  readonly #writes = new Set<(reason: Error) => void>();

  constructor({ input, output, silenceMsMax = SILENCE_MS_MAX }: { readonly input: Readable; readonly output: Writable; readonly silenceMsMax?: number }) {
    this.#input = input;
    this.#queue = new ByteQueue(input);
    this.#output = output;
    this.#silenceMsMax = silenceMsMax;
    output.on("error", () => {}); // Whoever writes hears of it.
    output.once("close", () => this.#writes.forEach((giveUp) => giveUp(new Error("it is gone"))));
    this.#signsOfLife = setInterval(() => this.#signOfLife(), SIGN_OF_LIFE_MS).unref();
  }

  /** The next part that says something; undefined where the other side has ended. Throws where it is gone. */
  async next(): Promise<Part | undefined> {
    for (;;) {
      const part = await this.#nextPart();
      const isSignOfLife = part?.kind === "message" && "alive" in part.value;
      if (!isSignOfLife) return part;
    }
  }

  /** The bytes of the part of data that has just come. */
  async take(target: Uint8Array): Promise<void> {
    await this.#limited(this.#queue.fill(target));
  }

  /** Resolves when it has left this process. */
  say(message: Message): Promise<void> {
    return this.#write(messageBytes(message));
  }

  /** As `say()`: then the bytes may be changed. At most `DATA_BYTES_MAX`. */
  sendData(bytes: Uint8Array, offset: number): Promise<void> {
    return this.#write(head("data", bytes.length, offset), bytes);
  }

  /** Zeroes, which are not sent. */
  sendHole(lengthBytes: number, offset: number): Promise<void> {
    return this.#write(head("hole", lengthBytes, offset));
  }

  /** Nothing more will be said from here; what still comes is not listened to, up to its end. */
  end(): void {
    this.#output.end();
    void this.#untilOthersEnd();
  }

  /** The same for the side that answers: over HTTP a connection can serve again where a request has ended before its answer does. */
  async endAfterOther(): Promise<void> {
    await this.#untilOthersEnd();
    this.#output.end();
  }

  /** Leaves at once. */
  [Symbol.dispose](): void {
    clearInterval(this.#signsOfLife);
    this.#output.destroy();
    this.#input.destroy();
  }

  async #untilOthersEnd(): Promise<void> {
    clearInterval(this.#signsOfLife);
    const input = this.#input;
    if (input.readableEnded || input.destroyed) return;
    const ended = new Promise((resolve) => input.once("end", resolve).once("close", resolve));
    const timer = setTimeout(() => input.destroy(), LEAVE_MS_MAX).unref();
    input.removeAllListeners("readable").on("error", () => {}); // Of a reader that waits: nothing would flow past it.
    input.resume();
    await ended;
    clearTimeout(timer);
  }

  async #nextPart(): Promise<Part | undefined> {
    const bytes = await this.#limited(this.#queue.take(HEAD_BYTES)).catch((error: unknown) => {
      if (this.#input.readableEnded) return undefined;
      throw error;
    });
    if (!bytes) return undefined;
    const [kind, lengthBytes, offset] = [KINDS[bytes.readUInt32BE(0)], bytes.readUInt32BE(4), Number(bytes.readBigUInt64BE(8))];
    if (kind === undefined || lengthBytes > LENGTH_MAX[kind] || !Number.isSafeInteger(offset)) throw new Error("it does not speak our protocol");
    if (kind !== "message") return { kind, offset, lengthBytes };
    return { kind, value: asMessage(await this.#limited(this.#queue.take(lengthBytes))) };
  }

  async #limited<Result>(work: Promise<Result>): Promise<Result> {
    const silent = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      silent.reject(new Error(`it was silent for ${this.#silenceMsMax / SECOND_MS} s`));
      this[Symbol.dispose](); // Else what is being sent to it would wait for the network to notice: a quarter of an hour.
    }, this.#silenceMsMax);
    try {
      return await Promise.race([work, silent.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Not while others wait to be sent: these are signs enough. */
  #signOfLife(): void {
    if (this.#output.writableLength === 0) this.say({ alive: true }).catch(() => {});
  }

  #write(...parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#output.destroyed || this.#output.writableEnded) return reject(new Error("it is gone"));
      this.#writes.add(reject);
      const done = (error?: Error | null) => {
        this.#writes.delete(reject);
        if (error) reject(error);
        else resolve();
      };
      this.#output.cork();
      for (const [i, part] of parts.entries()) this.#output.write(part, i === parts.length - 1 ? done : undefined);
      this.#output.uncork();
    });
  }
}

/** A message as it is sent: one that begins a conversation may have to leave before there is an answer. */
export function messageBytes(message: Message): Buffer {
  const bytes = Buffer.from(JSON.stringify(message));
  return Buffer.concat([head("message", bytes.length, 0), bytes]);
}

const LENGTH_MAX = { message: MESSAGE_BYTES_MAX, data: DATA_BYTES_MAX, hole: 2 ** 32 - 1 } as const;

function head(kind: (typeof KINDS)[number], lengthBytes: number, offset: number): Buffer {
  if (lengthBytes > LENGTH_MAX[kind]) throw new Error(`Broken invariant: a ${kind} of ${lengthBytes} bytes`);
  const bytes = Buffer.alloc(HEAD_BYTES);
  bytes.writeUInt32BE(KINDS.indexOf(kind), 0);
  bytes.writeUInt32BE(lengthBytes, 4);
  bytes.writeBigUInt64BE(BigInt(offset), 8);
  return bytes;
}

function asMessage(bytes: Buffer): Message {
  const value: unknown = JSON.parse(bytes.toString("utf8"));
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it does not speak our protocol");
  return value as Message;
}

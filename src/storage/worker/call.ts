import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError, ERRORS, type ErrorCode } from "#/domain/errors.ts";
import type { Conversation, Message, Part } from "#/lib/conversation.ts";
import { SECOND_MS } from "#/lib/units.ts";

/** A worker that was told to give up has so long to remove what it had begun. */
const GIVE_UP_MS_MAX = 30 * SECOND_MS;

/** One call of a worker, from this side. Its signal cancels it: then the worker is waited for, which removes what it had begun. */
export class WorkerCall implements Disposable {
  readonly #conversation: Conversation;
  readonly #host: string;
  readonly #signal: AbortSignal | undefined;
  readonly #cancel = () => this.#giveUp();
  #timer: NodeJS.Timeout | undefined;
  #hasEnded = false;

  constructor(conversation: Conversation, { host, signal }: { readonly host: string; readonly signal: AbortSignal | undefined }) {
    this.#conversation = conversation;
    this.#host = host;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#cancel, { once: true });
    if (signal?.aborted) this.#giveUp();
  }

  /** The next part, as it comes. Errors: what the worker says; `pool_unavailable` where it is gone. */
  async next(): Promise<Part> {
    const part = await this.#reaching(() => this.#conversation.next());
    if (!part) throw this.#gone(new Error("it ended in the middle"));
    if (part.kind === "message" && "error" in part.value) throw this.#leaving(errorOf(part.value["error"]));
    if (part.kind === "message" && "result" in part.value) this.#leaving();
    return part;
  }

  /** Waits for the result. What is said before it goes to `onMessage`, one after the other. Errors: as `next()`. */
  async result(onMessage: (message: Message) => Promise<void> | void = () => {}): Promise<unknown> {
    for (;;) {
      const part = await this.next();
      if (part.kind !== "message") continue;
      if ("result" in part.value) return part.value["result"];
      await onMessage(part.value);
    }
  }

  take(target: Uint8Array): Promise<void> {
    return this.#reaching(() => this.#conversation.take(target));
  }

  say(message: Message): Promise<void> {
    return this.#reaching(() => this.#conversation.say(message));
  }

  sendData(bytes: Uint8Array, offset: number): Promise<void> {
    return this.#reaching(() => this.#conversation.sendData(bytes, offset));
  }

  sendHole(lengthBytes: number, offset: number): Promise<void> {
    return this.#reaching(() => this.#conversation.sendHole(lengthBytes, offset));
  }

  /** Goes away; a call that has not ended is cancelled by that. */
  [Symbol.dispose](): void {
    this.#forget();
    if (!this.#hasEnded) this.#conversation[Symbol.dispose]();
  }

  async #reaching<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (cause) {
      throw this.#gone(cause);
    }
  }

  #gone(cause: unknown): AppError {
    this[Symbol.dispose]();
    throwIfCancelled(this.#signal);
    return new AppError("pool_unavailable", `the worker at ${this.#host} went away: ${(cause as Error).message}`, { cause });
  }

  /** The call has ended: its connection can serve the next one. */
  #leaving<Reason>(reason?: Reason): Reason | undefined {
    this.#forget();
    this.#hasEnded = true;
    this.#conversation.end();
    return reason;
  }

  #forget(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#cancel);
  }

  #giveUp(): void {
    this.#conversation.say({ cancel: true }).catch(() => {}); // It is gone, which whoever waits hears.
    this.#timer = setTimeout(() => this.#conversation[Symbol.dispose](), GIVE_UP_MS_MAX);
  }
}

/** An error that the worker tells of. */
export function errorOf(said: unknown): AppError {
  const { code, message } = (said ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  const known = typeof code === "string" && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : "internal";
  return new AppError(known, String(message));
}

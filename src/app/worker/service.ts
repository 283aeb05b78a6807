import type { Logger } from "pino";
import { type Asked, type NbdServer, told, untilCancelled } from "#/app/worker/asked.ts";
import { CALLS, type CallOptions } from "#/app/worker/calls.ts";
import { type Exports, namesOf } from "#/app/worker/exports.ts";
import { fill } from "#/app/worker/fill.ts";
import { changes, list, read } from "#/app/worker/read.ts";
import { receive } from "#/app/worker/receive.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { Conversation, Message } from "#/lib/conversation.ts";
import { VERSION } from "#/lib/version.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";
import { WORKER_PROTOCOL, type WorkerFacts } from "#/storage/worker/protocol.ts";

/** The calls that are more than a question and an answer. */
const STREAMS: Readonly<Record<string, (asked: Asked) => Promise<unknown>>> = { list, read, changes, receive, fill };

/** Serves the pools of this host to other processes of Mica: a storage driver's methods, by name. */
export class WorkerService {
  readonly #pools: Pools;
  readonly #exports: Exports;
  readonly #nbd: NbdServer;
  readonly #log: Logger;

  constructor({ pools, exports, nbd, log }: { pools: Pools; exports: Exports; nbd: NbdServer; log: Logger }) {
    this.#pools = pools;
    this.#exports = exports;
    this.#nbd = nbd;
    this.#log = log;
  }

  facts(): WorkerFacts {
    const pools = [...this.#pools].map(({ name, kind, can, down }) => [name, { driver: kind, can, ...(down && { down: down.reason }) }]);
    return { protocol: WORKER_PROTOCOL, version: VERSION, nbdPort: this.#nbd.port, pools: Object.fromEntries(pools) };
  }

  /** Errors: `not_found`. */
  find(name: string, method: string): Pool {
    const pool = this.#pools.find(name);
    if (!pool) throw new AppError("not_found", `There is no pool "${name}" here.`);
    if (!Object.hasOwn(CALLS, method) && !Object.hasOwn(STREAMS, method)) throw new AppError("not_found", `There is no call "${method}".`);
    return pool;
  }

  /**
   * Does one call: its parameters are the first message, its result or error the last one. Whoever asks may cancel it by a
   * message; where they are gone it is cancelled, and what it had begun is removed.
   */
  async answer(pool: Pool, method: string, conversation: Conversation): Promise<void> {
    const cancelled = new AbortController();
    try {
      const first = await conversation.next();
      if (first?.kind !== "message") throw new AppError("bad_request", "a call begins with its parameters");
      const result = await this.#do(pool, method, { conversation, cancelled, parameters: first.value });
      await conversation.say({ result: result ?? null });
    } catch (error) {
      cancelled.abort();
      if (!asAppError(error)) this.#log.error({ err: error, call: method, pool: pool.name }, "a call failed");
      await conversation.say({ error: told(error) }).catch(() => {}); // They are gone: nobody is left to be told.
    }
    await conversation.endAfterOther();
  }

  async #do(pool: Pool, method: string, { conversation, cancelled, parameters }: Pick<Asked, "conversation" | "cancelled"> & { parameters: Message }): Promise<unknown> {
    await Promise.all(disksIn(parameters).flatMap((id) => namesOf(pool, id)).map((disk) => this.#nbd.released(disk)));
    const options: CallOptions = { ...reporting(conversation, parameters), signal: cancelled.signal, pools: this.#pools };
    const asked = { pool, conversation, cancelled, parameters, options, exports: this.#exports, nbd: this.#nbd };
    const stream = STREAMS[method];
    if (stream) return stream(asked);
    void untilCancelled(conversation, cancelled);
    return CALLS[method]?.run(pool, parameters, options);
  }
}

/** What the asker is told on the way; a lost line means nothing. */
function reporting(conversation: Conversation, { bytesPerSecondMax }: Message): Pick<CallOptions, "onProgress" | "onDone" | "bytesPerSecondMax"> {
  const tell = (message: Message) => void conversation.say(message).catch(() => {});
  return {
    onProgress: (progress) => tell({ progress }),
    onDone: (done) => tell({ done }),
    bytesPerSecondMax: typeof bytesPerSecondMax === "number" && bytesPerSecondMax > 0 ? bytesPerSecondMax : undefined,
  };
}

/** The ids of the disks that a call is about. */
function disksIn({ id, ...others }: Message): string[] {
  const named = Object.values(others).map((value) => (typeof value === "object" && value !== null && "id" in value ? value.id : undefined));
  return [id, ...named].filter((value) => typeof value === "string");
}

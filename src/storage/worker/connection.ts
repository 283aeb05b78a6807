import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent, request, type RequestOptions } from "node:https";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { Conversation, CONVERSATION_TYPE, messageBytes } from "#/lib/conversation.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import { WorkerCall } from "#/storage/worker/call.ts";
import { WORKER_PROTOCOL, type WorkerFacts } from "#/storage/worker/protocol.ts";
import type { TlsIdentity } from "#/tools/tls-folder.ts";

/** A worker answers before it does anything: only the way there takes time. */
const ANSWER_MS_MAX = 10 * SECOND_MS;
/** Connections that nobody uses are kept for the next calls: to make one takes some milliseconds. */
const IDLE_CONNECTIONS_MAX = 8;
const FACTS_BYTES_MAX = MiB;

/** A worker on another host, by its address; connections are made as calls need them. */
export class WorkerConnection implements Disposable {
  readonly #url: URL;
  readonly #agent: Agent;

  constructor(url: string, tls: TlsIdentity) {
    this.#url = new URL(url);
    this.#agent = new Agent({ ...tls, keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX });
  }

  /** As its certificate must name it; an IPv6 address without brackets. */
  get hostname(): string {
    return this.#url.hostname.replace(/^\[|\]$/g, "");
  }

  /** Host and port. */
  get host(): string {
    return this.#url.port === "" ? `${this.#url.host}:443` : this.#url.host;
  }

  /** Errors: `pool_unavailable`, also where it speaks another protocol. */
  async facts(): Promise<WorkerFacts> {
    const asked = this.#request("/worker/v1", { method: "GET" });
    asked.end();
    const facts = await this.#factsIn(await this.#answered(asked));
    if (facts.protocol === WORKER_PROTOCOL) return facts;
    throw new AppError("pool_unavailable", `the worker at ${this.host} is Mica ${facts.version}, which speaks version ${facts.protocol} of the protocol, and this one ${WORKER_PROTOCOL}: update the older`);
  }

  /** Begins a call on a pool. Errors: `pool_unavailable`, `cancelled`. */
  async call(pool: string, method: string, parameters: object, signal?: AbortSignal): Promise<WorkerCall> {
    throwIfCancelled(signal);
    const first = messageBytes({ ...parameters });
    const asked = this.#request(`/worker/v1/pools/${pool}/${method}`, { method: "POST", headers: { "content-type": CONVERSATION_TYPE } });
    asked.write(first);
    const answer = await this.#answered(asked);
    return new WorkerCall(new Conversation({ input: answer, output: asked }), { host: this.host, signal });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #request(path: string, options: RequestOptions): ClientRequest {
    return request(new URL(path, this.#url), { ...options, agent: this.#agent });
  }

  /** The head of a good answer. */
  async #answered(asked: ClientRequest): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    asked.once("response", resolve);
    asked.on("error", reject);
    const timer = setTimeout(() => asked.destroy(new Error(`no answer within ${ANSWER_MS_MAX / SECOND_MS} s`)), ANSWER_MS_MAX);
    const answer = await promise
      .catch((cause: Error) => {
        throw new AppError("pool_unavailable", `the worker at ${this.host} does not answer: ${cause.message}`, { cause });
      })
      .finally(() => clearTimeout(timer));
    answer.on("error", () => {}); // Whoever reads hears of it.
    if (answer.statusCode === 200) return answer;
    const because = await this.#text(answer).catch(() => "");
    asked.destroy();
    throw new AppError("pool_unavailable", `the worker at ${this.host} refused with ${answer.statusCode}: ${because.slice(0, 500)}`);
  }

  async #factsIn(answer: IncomingMessage): Promise<WorkerFacts> {
    try {
      return JSON.parse(await this.#text(answer)) as WorkerFacts;
    } catch (cause) {
      throw new AppError("pool_unavailable", `the worker at ${this.host} does not say what it is: ${(cause as Error).message}`, { cause });
    }
  }

  async #text(answer: IncomingMessage): Promise<string> {
    const timer = setTimeout(() => answer.destroy(new Error(`no end within ${ANSWER_MS_MAX / SECOND_MS} s`)), ANSWER_MS_MAX);
    try {
      return await this.#all(answer);
    } finally {
      clearTimeout(timer);
    }
  }

  async #all(answer: IncomingMessage): Promise<string> {
    let text = "";
    for await (const chunk of answer.setEncoding("utf8")) {
      text += chunk;
      if (text.length > FACTS_BYTES_MAX) throw new AppError("pool_unavailable", `the worker at ${this.host} says too much`);
    }
    return text;
  }
}

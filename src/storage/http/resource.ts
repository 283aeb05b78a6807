import type { IncomingMessage } from "node:http";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { asOutboundError, type Outbound } from "#/storage/http/outbound.ts";

export interface ResourceFacts {
  readonly sizeBytes: number;
  /** Any range can be asked for; else all bytes come, from the first. */
  readonly hasRanges: boolean;
  /** Changes with the content; undefined where the server has no strong one. */
  readonly etag: string | undefined;
}

/** What a URL leads to: its size, and its bytes. */
export class Resource {
  readonly #outbound: Outbound;
  readonly #url: string;

  constructor(outbound: Outbound, url: string) {
    this.#outbound = outbound;
    this.#url = url;
  }

  /** Undefined where there is nothing at the URL. `not_supported` where the server does not tell the length. */
  async look(signal?: AbortSignal): Promise<ResourceFacts | undefined> {
    const head = await this.#ask("HEAD", {}, signal);
    head.resume(); // There is nothing in it; the connection is used again.
    if (head.statusCode === 200 && head.headers["accept-ranges"] === "bytes") return factsOf(head, lengthOf(head), true);
    // Servers that don't say whether they have ranges, and URLs that are signed for GET only.
    return this.#try(head, signal);
  }

  /** At least one byte. `etag` and `sizeBytes` are of an earlier look: another content is refused. */
  async *read(range: ByteRange, known: { etag?: string | undefined; sizeBytes?: number | undefined; signal?: AbortSignal | undefined } = {}): AsyncIterable<Uint8Array> {
    const headers = { range: `bytes=${range.start}-${range.end - 1}`, ...(known.etag && { "if-match": known.etag }) };
    const answer = await this.#ask("GET", headers, known.signal);
    try {
      const total = this.#requireBytes(answer, range);
      if (known.sizeBytes !== undefined && total !== known.sizeBytes) throw this.#replaced();
      yield* this.#cut(answer, range, known.signal);
    } finally {
      answer.destroy();
    }
  }

  async #try(head: IncomingMessage, signal?: AbortSignal): Promise<ResourceFacts | undefined> {
    const answer = await this.#ask("GET", { range: "bytes=0-0" }, signal);
    answer.destroy();
    if (answer.statusCode === 404 || answer.statusCode === 410) return undefined;
    if (answer.statusCode === 206) return factsOf(answer, totalOf(answer), true);
    if (answer.statusCode === 200) return factsOf(answer, lengthOf(answer), false);
    if (answer.statusCode === 416 && head.headers["content-length"] === "0") return { sizeBytes: 0, hasRanges: true, etag: undefined };
    throw this.#unexpected(answer);
  }

  /** The length of the whole, where the answer has the range; else throws. */
  #requireBytes(answer: IncomingMessage, { start, end }: ByteRange): number {
    const { statusCode: status, headers } = answer;
    if (status === 412) throw this.#replaced();
    if (status !== 200 && status !== 206) throw this.#unexpected(answer);
    if ((headers["content-encoding"] ?? "identity") !== "identity") throw new AppError("not_supported", `${this.#host} packs the bytes (${headers["content-encoding"]}) though it was asked not to`);
    const total = status === 206 ? totalOf(answer) : lengthOf(answer);
    if (total < end) throw new AppError("disk_not_found", `it ends at byte ${total}, not ${end}`);
    if (status === 206 && !headers["content-range"]?.startsWith(`bytes ${start}-${end - 1}/`)) throw new AppError("pool_unavailable", `${this.#host} answers with another range than was asked for`);
    return total;
  }

  /** The range's bytes, where the answer begins with it or with the first byte of all. */
  async *#cut(answer: IncomingMessage, { start, end }: ByteRange, signal: AbortSignal | undefined): AsyncIterable<Uint8Array> {
    let at = answer.statusCode === 206 ? start : 0;
    try {
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        const part = chunk.subarray(Math.max(0, start - at), Math.max(0, end - at));
        at += chunk.length;
        if (part.length > 0) yield part;
        if (at > end || (at === end && answer.statusCode === 200)) return; // There is more that nobody wants.
      }
    } catch (error) {
      throwIfCancelled(signal); // Node only says that the connection was closed.
      throw asOutboundError({ host: this.#host }, error);
    }
    if (at < end) throw new AppError("pool_unavailable", `${this.#host} ended its answer ${end - at} bytes too early`);
  }

  #ask(method: "GET" | "HEAD", headers: Readonly<Record<string, string>>, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    return this.#outbound.request(this.#url, { method, headers, signal });
  }

  get #host(): string {
    return new URL(this.#url).host;
  }

  #replaced(): AppError {
    return new AppError("disk_not_found", `what ${this.#host} has at its URL was replaced by something else`);
  }

  #unexpected({ statusCode = 0 }: IncomingMessage): AppError {
    const isPassing = statusCode >= 500 || statusCode === 429;
    return new AppError(isPassing ? "pool_unavailable" : "disk_not_found", `${this.#host} answers with status ${statusCode}`);
  }
}

function factsOf({ headers }: IncomingMessage, sizeBytes: number, hasRanges: boolean): ResourceFacts {
  const { etag } = headers;
  return { sizeBytes, hasRanges, etag: etag?.startsWith('"') ? etag : undefined };
}

function lengthOf({ headers }: IncomingMessage): number {
  return wholeNumber(headers["content-length"]);
}

/** `bytes 0-0/1234` */
function totalOf({ headers }: IncomingMessage): number {
  return wholeNumber(headers["content-range"]?.split("/")[1]);
}

function wholeNumber(text: string | undefined): number {
  const number = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new AppError("not_supported", "its server does not tell how long it is");
  return number;
}

import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { AppError } from "#/domain/errors.ts";

/**
 * Reads JSON bodies. An empty one is no body: OpenStack's clients send the content type with requests that have none.
 * A body that is cut off, or shorter than its Content-Length says, ends in 408 or 400, never in a handler.
 */
export function acceptJsonBodies(app: FastifyInstance, { bytesMax, timeoutMs, mediaTypes = ["application/json"] }: JsonBodyOptions): void {
  app.removeContentTypeParser([...mediaTypes, "text/plain"]);
  app.addContentTypeParser([...mediaTypes], async (_request: unknown, payload: IncomingMessage) =>
    parseJson(await readText(payload, bytesMax, timeoutMs)),
  );
}

export interface JsonBodyOptions {
  readonly bytesMax: number;
  readonly timeoutMs: number;
  /** The types that are JSON; `application/json` where nothing is said. */
  readonly mediaTypes?: readonly string[];
}

/**
 * Refuses bodies of other types, where a route does not take them. A type without a body says nothing: glanceclient calls
 * everything `application/octet-stream`.
 */
export function refuseOtherBodies(app: FastifyInstance): void {
  app.addContentTypeParser("*", async ({ headers }: FastifyRequest) => {
    const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    if (hasBody) throw new AppError("unsupported_media", `The content type "${headers["content-type"] ?? ""}" is not supported here.`);
    return undefined;
  });
}

/** Whatever happens here, the connection lives on, so that the client can read the refusal. */
async function readText(payload: IncomingMessage, bytesMax: number, timeoutMs: number): Promise<string> {
  refuseLargerThan(Number(payload.headers["content-length"] ?? 0), bytesMax);
  const tooSlow = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => tooSlow.reject(new AppError("request_timeout", `The body did not arrive within ${timeoutMs / 1000} s.`)),
    timeoutMs,
  );
  try {
    return await Promise.race([readAll(payload, bytesMax), tooSlow.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function readAll(payload: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let lengthBytes = 0;
  for await (const chunk of payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    lengthBytes += chunk.length;
    refuseLargerThan(lengthBytes, bytesMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function refuseLargerThan(lengthBytes: number, bytesMax: number): void {
  if (lengthBytes > bytesMax) throw new AppError("too_large", `The body may have at most ${bytesMax} bytes.`);
}

function parseJson(text: string): unknown {
  if (text === "") return undefined;
  refuseDeep(text);
  try {
    return JSON.parse(text, refusePrototype);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError("bad_request", `The body is not valid JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** No body of OpenStack's is nested half as deep. What is deeper would end in the stack's limit, here or in whatever walks through it. */
const DEPTH_MAX = 64;
const [QUOTE, BACKSLASH, BRACKET, BRACKET_END, BRACE, BRACE_END] = Buffer.from('"\\[]{}');

function refuseDeep(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at); // Five times as fast as text[at].
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === BRACKET || code === BRACE) depth++;
    else if (code === BRACKET_END || code === BRACE_END) depth--;
    if (depth > DEPTH_MAX) throw new AppError("bad_request", `The body is nested too deeply: ${DEPTH_MAX} levels are the limit.`);
  }
}

/** Where the string that begins at `start` has its closing quote; the end of the text where it has none. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text.charCodeAt(at) === QUOTE) return at;
    if (text.charCodeAt(at) === BACKSLASH) at++;
  }
  return text.length;
}

/** `__proto__` as a key would become a prototype wherever the object is copied by assignment. */
function refusePrototype(key: string, value: unknown): unknown {
  if (key === "__proto__") throw new AppError("bad_request", 'The body may not have a property "__proto__".');
  return value;
}

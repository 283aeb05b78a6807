import { randomFillSync } from "node:crypto";
import { Agent, type IncomingMessage, request, type RequestOptions } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { MINUTE_MS, MiB } from "#/lib/units.ts";

const LIMIT_MS = 5 * MINUTE_MS;

/** Bytes that no format begins with, and that don't compress: the same random block again and again. */
export function* randomBlocks(sizeBytes: number): Generator<Uint8Array> {
  const block = randomFillSync(Buffer.alloc(MiB));
  for (let left = sizeBytes; left > 0; left -= block.length) yield left < block.length ? block.subarray(0, left) : block;
}

/** Sends a body by PUT, and resolves when the answer is complete. Throws where it is no success; who refuses need not take all of the body. */
export async function put(url: string, headers: Record<string, string>, body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const { sent, answered } = begin(url, { method: "PUT", headers: { "content-type": "application/octet-stream", ...headers } });
  const sending = pipeline(Readable.from(body, { objectMode: true, highWaterMark: 2 }), sent, { signal: AbortSignal.timeout(LIMIT_MS) });
  await sending.catch(async (error: unknown) => {
    requireSuccess(await answered);
    throw error;
  });
  await read(await answered);
}

/** Fetches a body and drops it; its length. */
export async function get(url: string, headers: Record<string, string>): Promise<number> {
  const { sent, answered } = begin(url, { headers });
  sent.end();
  return read(await answered);
}

function begin(url: string, options: RequestOptions) {
  const sent = request(url, { ...options, agent: new Agent(), signal: AbortSignal.timeout(LIMIT_MS) });
  const answered = new Promise<IncomingMessage>((resolve, reject) => sent.once("response", resolve).once("error", reject));
  return { sent, answered };
}

async function read(answer: IncomingMessage): Promise<number> {
  let sizeBytes = 0;
  requireSuccess(answer);
  for await (const chunk of answer) sizeBytes += (chunk as Buffer).length;
  return sizeBytes;
}

function requireSuccess(answer: IncomingMessage): void {
  if ((answer.statusCode ?? 500) >= 300) throw new Error(`The answer is ${answer.statusCode}.`);
}

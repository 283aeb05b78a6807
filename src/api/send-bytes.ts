import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";

export interface BytesAnswer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  /** Opens the content; the signal ends it when the client is gone. Its buffers may be reused. */
  readonly open: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
}

/**
 * Sends content as fast as the client takes it, one buffer at a time. What fails before the first byte is an ordinary refusal;
 * later the connection is cut, so that the client sees that the content is not whole.
 */
export async function sendBytes(reply: FastifyReply, { status, headers, open }: BytesAnswer): Promise<void> {
  const gone = new AbortController();
  const response = reply.raw;
  response.once("close", () => gone.abort());
  const content = open(gone.signal)[Symbol.asyncIterator]();
  const first = await content.next();
  reply.hijack();
  response.writeHead(status, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...headers });
  try {
    for (let next = first; !next.done; next = await content.next()) await write(response, next.value, gone.signal);
    response.end();
  } catch (error) {
    response.destroy();
    if (!gone.signal.aborted) reply.log.error({ err: error }, "content broke off");
  } finally {
    await content.return?.();
  }
}

/** Until the bytes have left this process: only then their buffer may be reused. */
function write(response: ServerResponse, bytes: Uint8Array, gone: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onGone = () => reject(new Error("The client is gone"));
    if (gone.aborted) return onGone();
    gone.addEventListener("abort", onGone, { once: true });
    response.write(bytes, (error) => {
      gone.removeEventListener("abort", onGone);
      if (error) reject(error);
      else resolve();
    });
  });
}

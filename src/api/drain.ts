import type { IncomingMessage } from "node:http";
import type { FastifyInstance } from "fastify";
import { SECOND_MS } from "#/lib/units.ts";

/** Many clients read the answer only when they have sent all; so long that is cheaper than a second attempt. */
const DRAIN_MS_MAX = 5 * SECOND_MS;

/**
 * Reads and forgets what is left of a body after its request was answered, so that the client gets to the answer; where it goes
 * on for long, the connection is closed. Without that a refused terabyte would be read to its end.
 */
export function drainRefusedBodies(app: FastifyInstance): void {
  app.addHook("onResponse", async ({ raw }) => drain(raw, DRAIN_MS_MAX));
}

export function drain(request: IncomingMessage, limitMs: number): void {
  if (request.complete || request.destroyed) return;
  const timer = setTimeout(() => request.complete || request.destroy(), limitMs).unref();
  for (const event of ["end", "close"]) request.once(event, () => clearTimeout(timer));
  request.on("error", () => {}); // The client is gone: nobody is left to be told.
  request.removeAllListeners("readable"); // Of a reader that was stopped while it waited: nothing would flow past it.
  request.resume();
}

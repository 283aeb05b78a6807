import type { IncomingMessage } from "node:http";
import { MiB, SECOND_MS } from "#/lib/units.ts";

/** Many clients read the answer only when they have sent all; up to here that is cheaper than a second attempt. */
const DRAIN_BYTES_MAX = 64 * MiB;
const DRAIN_TIME_MAX_MS = 10 * SECOND_MS;

/**
 * Reads and forgets what is left of the body of a request that was refused, so that the client gets to the answer; then, where it
 * goes on for long, closes the connection. Without that Node would read a refused terabyte to its end.
 */
export function drain(request: IncomingMessage): void {
  if (request.readableEnded || request.destroyed) return;
  let leftBytes = DRAIN_BYTES_MAX;
  const timer = setTimeout(() => request.destroy(), DRAIN_TIME_MAX_MS);
  request.on("data", (chunk: Buffer) => {
    leftBytes -= chunk.length;
    if (leftBytes < 0) request.destroy();
  });
  request.on("error", () => {}); // The client is gone: nobody is left to be told.
  request.once("close", () => clearTimeout(timer));
  request.once("end", () => clearTimeout(timer));
  request.resume();
}

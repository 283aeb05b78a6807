import { MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { ClientError } from "./errors.ts";

/** The one record that `load` finds; refuses none and several. */
export async function find<Found>(noun: string, idOrName: string, load: () => Promise<readonly Found[]>): Promise<Found> {
  const found = await load();
  const [first] = found;
  if (first === undefined)
    throw new ClientError("refused", `There is no ${noun} "${idOrName}".`, {
      status: 404,
      fix: "Check the name or id, and the project that you work in.",
    });
  if (found.length > 1)
    throw new ClientError("refused", `${found.length} ${noun}s have the name "${idOrName}".`, { fix: "Use the id instead." });
  return first;
}

export interface Wait<Seen extends { readonly status: string }> {
  readonly what: string;
  readonly show: () => Promise<Seen>;
  readonly isDone: (seen: Seen) => boolean;
  readonly isBroken: (seen: Seen) => boolean;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10 * MINUTE_MS;

/** Looks at a record until it is as wanted: often at first, since a clone takes milliseconds, then twice a second. */
export async function waitFor<Seen extends { readonly status: string }>(wait: Wait<Seen>): Promise<Seen> {
  const endMs = Date.now() + (wait.timeoutMs ?? TIMEOUT_MS);
  for (let pauseMs = 10; ; pauseMs = Math.min(pauseMs * 1.5, SECOND_MS / 2)) {
    wait.signal?.throwIfAborted();
    const seen = await wait.show();
    if (wait.isDone(seen)) return seen;
    if (wait.isBroken(seen)) {
      throw new ClientError("operation_failed", `The ${wait.what} came to the status "${seen.status}".`, {
        fix: "See why: mica operations list",
      });
    }
    if (Date.now() > endMs)
      throw new ClientError("too_late", `The ${wait.what} is still "${seen.status}".`, { fix: "Look on: mica operations list" });
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

import { AppError } from "#/domain/errors.ts";

/** Throws `cancelled` once the signal is set. `doing` completes the sentence: "Cannot clone disk 7f…: cancelled". */
export function throwIfCancelled(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted) throw new AppError("cancelled", `Cannot ${doing}: cancelled`, { cause: signal.reason });
}

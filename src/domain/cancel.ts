import { AppError } from "#/domain/errors.ts";

/** Throws `cancelled` once the signal is set. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AppError("cancelled", "it was cancelled", { cause: signal.reason });
}

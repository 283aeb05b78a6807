import type { Operation } from "#/app/operations.ts";
import { ERRORS, type ErrorCode } from "#/domain/errors.ts";

/** Points in time are ISO 8601 in UTC; durations are milliseconds; sizes are bytes. */
export function operationView(operation: Operation) {
  const { createdAtMs, updatedAtMs, endedAtMs, error, ...rest } = operation;
  return {
    ...rest,
    error: error && { ...error, fix: ERRORS[error.code as ErrorCode]?.fix ?? "Look for the operation's id in the log." },
    createdAt: new Date(createdAtMs).toISOString(),
    updatedAt: new Date(updatedAtMs).toISOString(),
    endedAt: endedAtMs === null ? null : new Date(endedAtMs).toISOString(),
    durationMs: (endedAtMs ?? updatedAtMs) - createdAtMs,
  };
}

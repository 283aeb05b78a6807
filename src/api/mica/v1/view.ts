import type { Operation } from "#/app/operations.ts";
import type { LastCapture } from "#/app/last-captures.ts";
import type { ExplainedServer } from "#/app/server-captures.ts";
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

export function capturesView({ calls, ...rest }: ExplainedServer) {
  return { ...rest, calls: calls.map(({ ways, ...call }) => ({ ...call, ways: ways.map(({ last, ...way }) => ({ ...way, last: last && lastView(last) })) })) };
}

function lastView({ endedAtMs, ...rest }: LastCapture) {
  return { ...rest, endedAt: new Date(endedAtMs).toISOString() };
}

import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { operationId } from "#/domain/ids.ts";
import type { Actual, SagaContext } from "#/saga/context.ts";
import type { StepScope } from "#/saga/engine/saga.ts";

/**
 * Waits for an operation that others may be waiting for too, showing its progress as ours. Its failure is ours; our cancel is not
 * its. Returns what it reported.
 */
export async function awaitOperation({ runner }: Pick<SagaContext<object>, "runner">, operation: string, scope: StepScope): Promise<Actual | undefined> {
  const id = operationId(operation);
  const unwatch = runner.watch(id, () => scope.progress(runner.live(id)?.fraction ?? 0));
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(scope.signal.reason);
  scope.signal.addEventListener("abort", onAbort);
  try {
    const ended = await Promise.race([runner.run(id), aborted.promise]);
    if (ended.state !== "done") throw new AppError((ended.error_code ?? "unavailable") as ErrorCode, ended.error_message ?? "What it was waiting for did not come about.");
    return ended.actual ? JSON.parse(ended.actual) : undefined;
  } finally {
    unwatch();
    scope.signal.removeEventListener("abort", onAbort);
  }
}

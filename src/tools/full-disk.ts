import { AppError } from "#/domain/errors.ts";
import { ToolFailure } from "#/tools/run.ts";

/** For failures of programs that write: a full pool is not the tool's fault, and becomes `pool_full`. */
export function rethrowFull(error: unknown): never {
  if (error instanceof AppError && error.cause instanceof ToolFailure && /No space left on device/.test(error.cause.stderr)) {
    throw new AppError("pool_full", error.message, { cause: error.cause });
  }
  throw error;
}

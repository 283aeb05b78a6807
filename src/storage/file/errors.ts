import { AppError, type ErrorCode } from "#/domain/errors.ts";

/** Runs file system calls, and turns what they throw into what a caller can be told. */
export async function tellingErrors<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw asStorageError(error);
  }
}

/** An error with an errno as an AppError with its meaning for a pool; all else as it is. */
export function asStorageError(error: unknown): unknown {
  if (error instanceof AppError || !(error instanceof Error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  return new AppError(MEANINGS[code] ?? "pool_unavailable", error.message, { cause: error });
}

/** What is not here (EIO, EROFS, EACCES, ESTALE, ENOENT of the folder itself, …) makes the pool unusable as it is. */
const MEANINGS: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "pool_full",
  EDQUOT: "pool_full",
  EFBIG: "pool_full",
  EMFILE: "unavailable",
  ENFILE: "unavailable",
  ENOMEM: "unavailable",
};

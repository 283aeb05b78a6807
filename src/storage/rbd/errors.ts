import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { ToolFailure } from "#/tools/run.ts";

/** Ceph's programs end with the number of the error. */
export const ENOENT = 2;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const ENOTEMPTY = 39;

/** Who did what where, for messages about rights. */
export interface Doing {
  readonly user: string;
  readonly pool: string;
  /** Where the bytes come from, when that is another pool. */
  readonly sourcePool?: string | undefined;
}

/** The number that a Ceph program ended with; undefined for any other error. */
export function exitCodeOf(error: unknown): number | undefined {
  return error instanceof AppError && error.cause instanceof ToolFailure ? error.cause.exitCode : undefined;
}

/** What a Ceph program, or QEMU's librbd, had to say. */
export function saidBy(error: unknown): string {
  return error instanceof AppError && error.cause instanceof ToolFailure ? error.cause.stderr : "";
}

/** Awaits work, and takes errors with one of these numbers as "it is done already". */
export async function unless(exitCodes: readonly number[], work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!exitCodes.includes(exitCodeOf(error) ?? -1)) throw error;
  });
}

/** An error of a tool with its meaning for a pool; all else as it is. */
export function asRbdError(error: unknown, doing: Doing): unknown {
  if (!(error instanceof AppError) || (error.code !== "tool_failed" && error.code !== "tool_timed_out")) return error;
  const said = saidBy(error);
  if (/\((?:1|13)\) (?:Operation not permitted|Permission denied)|Operation not permitted/.test(said)) {
    return new AppError("pool_forbidden", `${whatIsMissing(doing)}: ${error.message}`, { cause: error });
  }
  const code = isUnreachable(error) ? "pool_unavailable" : MEANINGS[exitCodeOf(error) ?? 0];
  return code === undefined ? error : new AppError(code, error.message, { cause: error });
}

/** Ceph does not answer, or not to us. Also so where the pool is full: then writes wait until they time out. */
export function isUnreachable(error: unknown): boolean {
  if (error instanceof AppError && error.code === "tool_timed_out") return true;
  return exitCodeOf(error) !== undefined && /couldn't connect|unable to open config|error opening pool|timed out|does not exist|Input\/output error|endpoint shutdown/.test(saidBy(error));
}

function whatIsMissing({ user, pool, sourcePool }: Doing): string {
  const profiles = [`profile rbd pool=${pool}`, ...(sourcePool && sourcePool !== pool ? [`profile rbd-read-only pool=${sourcePool}`] : [])];
  return `the Ceph user client.${user} may not do that; it needs (ceph auth caps client.${user} …) mon 'profile rbd' and osd '${profiles.join(", ")}'`;
}

const MEANINGS: Readonly<Record<number, ErrorCode>> = {
  [ENOENT]: "disk_not_found",
  5: "pool_unavailable",
  [EBUSY]: "conflict",
  28: "pool_full",
  [ENOTEMPTY]: "conflict",
  107: "pool_unavailable",
  108: "pool_unavailable",
  110: "pool_unavailable",
  122: "pool_full",
};

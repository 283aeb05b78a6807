import type { FileSystem } from "#/domain/file-system.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

/**
 * Makes an empty file system, or a swap area, in a sparse file as large as the disk. As little as possible is written: tables and
 * the journal are left as the zeroes that they read as (mke2fs(8), lazy_itable_init). Errors: `tool_failed`, `tool_timed_out`, `cancelled`.
 */
export async function makeFileSystem(path: string, { kind, label }: FileSystem, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
  const named = label ? ["-L", label] : [];
  const command = kind === "swap" ? ["mkswap", ...named, path] : ["mke2fs", "-q", "-F", "-t", kind, ...named, "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", path];
  const [program, ...args] = command as [string, ...string[]];
  await run(program, args, { timeoutMs: 10 * MINUTE_MS, signal });
}

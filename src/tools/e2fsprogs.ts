import { open } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import { GiB, MINUTE_MS } from "#/lib/units.ts";
import { run, type RunOptions, ToolFailure } from "#/tools/run.ts";

/** Of the superblock: 1024 bytes from the start, 0x38 into it, little-endian (Linux, fs/ext4/ext4.h `s_magic`). */
const MAGIC = { offset: 1024 + 0x38, value: 0xef53 };

/** Whether the file is an ext2, ext3 or ext4 file system from its first byte on, without partitions. */
export async function isExtFileSystem(path: string): Promise<boolean> {
  await using file = await open(path, "r");
  const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, MAGIC.offset);
  return bytesRead === 2 && buffer.readUInt16LE() === MAGIC.value;
}

/**
 * Makes the file system as large as its file. It is a user's, and may be made to harm: the tools see this one file and nothing else. Errors: `tool_failed`
 * where it is broken beyond what e2fsck mends by itself, `tool_timed_out`, `cancelled`.
 */
export async function growExtFileSystem(path: string, { signal, mountsOf }: Pick<RunOptions, "signal" | "mountsOf"> = {}): Promise<void> {
  const confine = { addressSpaceBytes: 2 * GiB, cpuSeconds: 600, readable: [MOUNTS], writable: [path] };
  const options: RunOptions = { timeoutMs: 30 * MINUTE_MS, signal, mountsOf, confine };
  await run("e2fsck", ["-fp", path], options).catch(unlessMended);
  await run("resize2fs", [path], options);
}

/** resize2fs looks there whether somebody has the file mounted, and does nothing where it cannot look. */
const MOUNTS = "/proc/mounts";

/** e2fsck(8): 1 is "errors corrected". */
function unlessMended(error: unknown): void {
  if (error instanceof AppError && error.cause instanceof ToolFailure && error.cause.exitCode === 1) return;
  throw error;
}

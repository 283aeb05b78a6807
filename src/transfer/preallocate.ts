import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { formatBytes, MINUTE_MS } from "#/lib/units.ts";
import { rethrowFull } from "#/tools/full-disk.ts";
import { type RunOptions, run } from "#/tools/run.ts";

/**
 * Gives a disk that is a file all the space that it may come to need, without writing it, so that its guest never meets a full file system
 * (fallocate(1), `--keep-size`). False where it is no file: there is nothing to be had beforehand. Errors: `pool_full`.
 */
export async function preallocate(node: BlockNode, sizeBytes: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<boolean> {
  const path = fileOf(node);
  if (path === undefined) return false;
  const options = { timeoutMs: 10 * MINUTE_MS, signal };
  await checkRoom(path, sizeBytes, options);
  await run("fallocate", ["--keep-size", "--length", String(sizeBytes), path], options).catch(rethrowFull);
  return true;
}

/** What has no room is not tried: ext4 and XFS give a file all that is free before they fail, and whoever else writes there meanwhile fails too. */
async function checkRoom(path: string, sizeBytes: number, options: RunOptions): Promise<void> {
  const [blocks, blockBytes] = await numbersOf(path, ["--format=%b %B"], options);
  const [freeBlocks, freeBlockBytes] = await numbersOf(path, ["--file-system", "--format=%a %S"], options);
  const [neededBytes, freeBytes] = [sizeBytes - blocks * blockBytes, freeBlocks * freeBlockBytes];
  if (neededBytes > freeBytes) throw new AppError("pool_full", `Cannot take ${formatBytes(neededBytes)} for a disk at once: ${formatBytes(freeBytes)} are free.`);
}

/** By stat(1), which can be left alone where the server of a share does not answer. */
async function numbersOf(path: string, args: readonly string[], options: RunOptions): Promise<[number, number]> {
  const { stdout } = await run("stat", [...args, "--", path], options);
  return stdout.trim().split(" ").map(Number) as [number, number];
}

/** The file that takes the guest's writes: of an overlay its own. */
function fileOf(node: BlockNode): string | undefined {
  if (node.driver === "file") return node.filename;
  return node.driver === "raw" || node.driver === "qcow2" ? fileOf(node.file) : undefined;
}

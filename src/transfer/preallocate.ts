import type { BlockNode } from "#/domain/block-node.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import { rethrowFull } from "#/tools/full-disk.ts";
import { run } from "#/tools/run.ts";

/**
 * Gives a disk that is a file all the space that it may come to need, without writing it, so that its guest never meets a full file system
 * (fallocate(1), `--keep-size`). False where it is no file: there is nothing to be had beforehand. Errors: `pool_full`.
 */
export async function preallocate(node: BlockNode, sizeBytes: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<boolean> {
  const path = fileOf(node);
  if (path === undefined) return false;
  await run("fallocate", ["--keep-size", "--length", String(sizeBytes), path], { timeoutMs: 10 * MINUTE_MS, signal }).catch(rethrowFull);
  return true;
}

/** The file that takes the guest's writes: of an overlay its own. */
function fileOf(node: BlockNode): string | undefined {
  if (node.driver === "file") return node.filename;
  return node.driver === "raw" || node.driver === "qcow2" ? fileOf(node.file) : undefined;
}

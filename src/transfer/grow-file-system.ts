import type { BlockNode } from "#/domain/block-node.ts";
import { growExtFileSystem, isExtFileSystem } from "#/tools/e2fsprogs.ts";
import { openFileView } from "#/tools/file-view.ts";

interface GrowOptions {
  readonly signal?: AbortSignal | undefined;
  /** Also in overlays and devices: Nova's `resize_fs_using_block_device`. */
  readonly everywhere?: boolean | undefined;
}

/**
 * Has an unpartitioned ext2, ext3 or ext4 file system fill the larger disk that it lies on, where that is a plain file, and with `everywhere` in any other form.
 * Others are left to their guests. Whether it was done. Errors: `tool_failed` where the file system is broken, or this host cannot show such a disk to the tools.
 */
export async function growFileSystem(node: BlockNode, { signal, everywhere = false }: GrowOptions = {}): Promise<boolean> {
  if (node.driver === "raw" && node.file.driver === "file" && node.size === undefined) {
    const { filename: path } = node.file;
    return growAt({ path, outerPath: path }, signal);
  }
  if (!everywhere) return false;
  await using view = await openFileView(node, { signal });
  return await growAt(view, signal);
}

async function growAt({ path, outerPath, mountsOf }: { path: string; outerPath: string; mountsOf?: number }, signal: AbortSignal | undefined): Promise<boolean> {
  if (!(await isExtFileSystem(outerPath))) return false;
  await growExtFileSystem(path, { signal, mountsOf });
  return true;
}

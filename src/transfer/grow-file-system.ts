import type { BlockNode } from "#/domain/block-node.ts";
import { growExtFileSystem, isExtFileSystem } from "#/tools/e2fsprogs.ts";

/**
 * Has an unpartitioned ext2, ext3 or ext4 file system fill the larger disk that it lies on, where that is a plain file. Others are left to
 * their guests, as are file systems in overlays and devices: Nova's `resize_fs_using_block_device` = False. Whether it was done.
 */
export async function growFileSystem(node: BlockNode, options: { signal?: AbortSignal | undefined } = {}): Promise<boolean> {
  if (node.driver !== "raw" || node.file.driver !== "file") return false;
  const path = node.file.filename;
  if (!(await isExtFileSystem(path))) return false;
  await growExtFileSystem(path, options);
  return true;
}

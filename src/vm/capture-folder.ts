import { chmod, mkdir, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BlockNode, fileNode, overlayNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { createOverlay } from "#/tools/qemu-img.ts";
import { serverFolder } from "#/vm/server-folder.ts";

/** What is kept aside while a server's disks are captured; gone afterwards. */
export function captureFolder(dir: string, serverId: string): string {
  return join(serverFolder(dir, serverId).path, "capture");
}

/** Makes it empty. QEMU runs as another user, and makes its files itself. */
export async function makeCaptureFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  await chmod(path, 0o1777);
}

/** What its files take now, in bytes: mirrors, and what guests overwrote. */
export async function bytesKeptAside(path: string): Promise<number> {
  const names = await readdir(path).catch(unlessMissing);
  const stats = await Promise.all((names ?? []).map((name) => stat(join(path, name)).catch(unlessMissing)));
  return stats.reduce((sum, found) => sum + (found?.blocks ?? 0) * STAT_BLOCK_BYTES, 0);
}

/** stat(2): whatever the file system's own are. */
const STAT_BLOCK_BYTES = 512;

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

/** The disk that a guest's disk `live` is mirrored into: an overlay on what that reads through (`shallow`), or all of one that stands alone. */
export function mirrorNode(folder: string, target: string, live: BlockNode): { readonly node: BlockNode; readonly shallow: boolean } {
  const path = mirrorPath(folder, target);
  const backing = backingOf(live);
  return backing ? { node: overlayNode(path, backing), shallow: true } : { node: fileNode(path, "raw"), shallow: false };
}

/** Makes its file, empty. */
export async function makeMirror(folder: string, target: string, { live, virtualSizeBytes }: { readonly live: BlockNode; readonly virtualSizeBytes: number }): Promise<void> {
  const filename = mirrorPath(folder, target);
  const backing = backingOf(live);
  if (backing) return createOverlay({ filename, virtualSizeBytes, ...backingFile(backing) });
  await writeFile(filename, "");
  await truncate(filename, virtualSizeBytes);
}

const mirrorPath = (folder: string, target: string): string => join(folder, `${target}.mirror`);

function backingOf(node: BlockNode): BlockNode | undefined {
  return node.driver === "qcow2" ? (node.backing ?? undefined) : undefined;
}

function backingFile(node: BlockNode): { backingFilename: string; backingFormat: "raw" | "qcow2" } {
  if ((node.driver === "raw" || node.driver === "qcow2") && node.file.driver === "file") return { backingFilename: node.file.filename, backingFormat: node.driver };
  throw new AppError("not_supported", "what the disk reads through is no file");
}

import { join } from "node:path";
import { type DiskId, diskId } from "#/domain/ids.ts";

/**
 * How a pool's folder is kept. A disk is one file, named by its id and by how its bytes are kept:
 *
 *     <id>.disk       the content as it is: a raw disk, or the bytes of an image in whatever format its record says
 *     <id>.overlay    a raw disk, kept as a qcow2 file of our own making over another disk of this pool
 *     <id>.partial    unfinished work of either kind; nobody reads it
 *
 * So a file's name says how to open it, and nothing is ever probed. Where both of a disk's files are there, a change
 * from one to the other was interrupted, and the overlay counts: `driver.ts` says why that is right in each case.
 */
export type Suffix = "disk" | "overlay" | "partial";

export function fileName(id: DiskId, suffix: Suffix): string {
  return `${id}.${suffix}`;
}

export function filePath(directory: string, id: DiskId, suffix: Suffix): string {
  return join(directory, fileName(id, suffix));
}

const NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(disk|overlay|partial)$/;

/** Undefined for a file that is none of ours. */
export function parseFileName(name: string): { readonly id: DiskId; readonly suffix: Suffix } | undefined {
  const [, id, suffix] = NAME.exec(name) ?? [];
  return id === undefined ? undefined : { id: diskId(id), suffix: suffix as Suffix };
}

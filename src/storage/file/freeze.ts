import { link, rename } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { Lineage } from "#/storage/driver.ts";
import { createAnew, removeQuietly, sync } from "#/storage/file/files.ts";
import type { DiskFolder, LocatedDisk } from "#/storage/file/folder.ts";
import { fileName } from "#/storage/file/names.ts";
import { createOverlay } from "#/tools/qemu-img.ts";

/**
 * A snapshot without reflinks: the source's file becomes the snapshot's, and the source goes on as an overlay upon it.
 *
 *     1. S.partial   a new overlay that names T is written and synced
 *     2. T.disk      a second name (hard link) of S.disk
 *     3. S.overlay   S.partial gets this name: from now on S reads through T, and its old file no longer counts
 *     4. S.disk      is removed (where S was an overlay itself, step 3 has replaced it)
 *
 * A crash after any step loses nothing: S is whole all the time, up to 2 by its old file, from 3 on by the new one. After 2,
 * T is S's own file; a repeated call sees that and goes on, and deleting T takes only the second name away.
 */
export async function freeze(folder: DiskFolder, source: LocatedDisk, target: DiskId): Promise<Lineage> {
  const frozen = await folder.locate(target);
  if (source.parent === target && frozen) {
    await folder.remove(source.id, ["disk", "partial"]);
    return { target: frozen.parent, source: target };
  }
  if (frozen && frozen.inode !== source.inode)
    throw new AppError("conflict", `disk ${target} is there, and is not a snapshot of ${source.id}`);
  const partial = folder.path(source.id, "partial");
  try {
    await writeOverlay(partial, source, target);
    if (!frozen) await link(source.path, folder.path(target, source.suffix));
    await rename(partial, folder.path(source.id, "overlay"));
  } catch (error) {
    await removeQuietly(partial);
    await removeQuietly(folder.path(target, source.suffix));
    throw error;
  }
  await sync(folder.directory);
  await folder.remove(source.id, ["disk"]);
  return { target: source.parent, source: target };
}

async function writeOverlay(path: string, source: LocatedDisk, target: DiskId): Promise<void> {
  await createAnew(path);
  await createOverlay({
    filename: path,
    virtualSizeBytes: source.sizeBytes,
    backingFilename: fileName(target, source.suffix),
    backingFormat: source.suffix === "overlay" ? "qcow2" : "raw",
  });
  await sync(path);
}

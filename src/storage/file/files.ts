import { open, rm } from "node:fs/promises";

/** Small file system habits that several files of this folder share. */

/** Creates an empty file in place of whatever was there: a dead writer may still hold the old one. */
export async function createAnew(path: string): Promise<void> {
  await rm(path, { force: true });
  await using _file = await open(path, "wx", 0o600);
}

/** Puts what was written to a file, or which names a folder has, on stable storage. */
export async function sync(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.sync();
}

/** Makes a file longer; never shorter. */
export async function growTo(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, "r+");
  if ((await file.stat()).size < sizeBytes) await file.truncate(sizeBytes);
}

/** Makes a file as long as it says. */
export async function setLength(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, "r+");
  await file.truncate(sizeBytes);
}

/** For tidying up after a failure, whose own error must not hide the first. What stays is partial work, and the audit finds it. */
export async function removeQuietly(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => {});
}

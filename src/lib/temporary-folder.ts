import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A new folder that only we may enter. Its name has the number of this process, so that another one finds what a killed one has left. */
export async function makeTemporaryFolder(what: string): Promise<string> {
  return mkdtemp(join(tmpdir(), `mica-${what}-${process.pid}-`));
}

/** Removes the folders of processes that were killed: sockets and views are of no use to anybody without them. */
export async function removeDesertedFolders(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = /^mica-[a-z]+-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => {}); // Another user's is theirs to remove.
  }
}

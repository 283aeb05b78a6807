import { mkdir, open, opendir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AppError } from "#/domain/errors.ts";
import { tellingErrors } from "#/storage/file/errors.ts";
import { sync } from "#/storage/file/files.ts";
import { parseFileName } from "#/storage/file/names.ts";

/** Says whose folder it is; written when a pool gets the folder. */
const MARKER = ".mica-pool";

export interface FolderClaim {
  readonly pool: string;
  readonly isNew: boolean;
}

/**
 * Makes sure that `directory` is the folder of the pool: an unmounted one leaves an empty folder behind, in which every disk
 * seems gone, and in which new ones would vanish under the next mount. A new pool (`isNew`: no disks are on record) gets the
 * folder, which is made where it is missing. Errors: `pool_unavailable`, `pool_full`.
 */
export function claimFolder(directory: string, claim: FolderClaim): Promise<void> {
  return tellingErrors(() => claimIt(directory, claim));
}

/** The folder is no pool's any more. */
export async function releaseFolder(directory: string): Promise<void> {
  await rm(join(directory, MARKER), { force: true });
}

async function claimIt(directory: string, { pool, isNew }: FolderClaim): Promise<void> {
  if (isNew) await makeFolder(directory);
  const owner = await ownerOf(directory);
  if (owner === pool) return;
  if (owner !== undefined) throw new AppError("pool_unavailable", `${directory} belongs to pool "${owner}", as ${MARKER} in it says`);
  if (isNew) return mark(directory, pool);
  if (await hasDisks(directory)) return;
  throw new AppError("pool_unavailable", `${directory} is not the folder that holds the pool's disks: it is empty. Something is not mounted there`);
}

/** With those above it. Node's own `recursive` never ends where a file system has no place for new folders, like /proc. */
async function makeFolder(directory: string): Promise<void> {
  const make = () => mkdir(directory, { mode: 0o700 });
  try {
    await make();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || dirname(directory) === directory) throw error;
    await makeFolder(dirname(directory));
    await make();
  }
}

async function ownerOf(directory: string): Promise<string | undefined> {
  try {
    return (await readFile(join(directory, MARKER), "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return undefined;
  }
}

async function mark(directory: string, pool: string): Promise<void> {
  await using file = await open(join(directory, MARKER), "w", 0o600);
  await file.writeFile(`${pool}\n`);
  await file.sync();
  await sync(directory);
}

/** Folders of pools that are older than the marker have none. */
async function hasDisks(directory: string): Promise<boolean> {
  for await (const { name } of await opendir(directory)) if (parseFileName(name)) return true;
  return false;
}

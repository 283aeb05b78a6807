import { constants } from "node:fs";
import { copyFile, link, mkdtemp, open, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ALIGNMENT_BYTES, alignedBlocks } from "#/lib/aligned-memory.ts";

/** What the file system of a pool's folder can do; where it can't, why. Found out by trying, in the folder itself. */
export interface FolderFacts {
  readonly directory: string;
  /** `st_dev`: files of one device can share blocks. */
  readonly device: number;
  /** As the kernel calls it: "ext4", "xfs", …, or its number. */
  readonly fileSystem: string;
  /** Two files can share blocks until one is changed: FICLONE (XFS, btrfs, NFSv4.2 on such). */
  readonly reflink: Probed;
  /** Files can have two names. */
  readonly hardLink: Probed;
  /** Writes can pass the page cache. */
  readonly direct: Probed;
}

export type Probed = { readonly works: true } | { readonly works: false; readonly because: string };

/**
 * Tries each thing on small files, which are gone afterwards. Where not even these have room, the kind of file system has to do: a
 * full pool must open, or nothing in it could be deleted. Errors: those of the file system.
 */
export async function probeFolder(directory: string): Promise<FolderFacts> {
  const { type } = await statfs(directory);
  const { dev: device } = await stat(directory);
  const fileSystem = FILE_SYSTEMS.get(type) ?? `file system 0x${type.toString(16)}`;
  const known = { directory, device, fileSystem };
  try {
    return { ...known, ...(await tryInside(directory)) };
  } catch (error) {
    if (!isFull(error)) throw error;
    return { ...known, ...assumed(fileSystem) };
  }
}

type Findings = Pick<FolderFacts, "reflink" | "hardLink" | "direct">;

async function tryInside(directory: string): Promise<Findings> {
  const folder = await mkdtemp(join(directory, ".mica-probe-"));
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const [file, other] = [join(folder, "file"), join(folder, "other")];
  await writeFile(file, Buffer.alloc(ALIGNMENT_BYTES, 1));
  return {
    reflink: await attempt(() => copyFile(file, other, constants.COPYFILE_FICLONE_FORCE)),
    hardLink: await attempt(() => link(file, join(folder, "link"))),
    direct: await attempt(() => writeDirectly(file)),
  };
}

function assumed(fileSystem: string): Findings {
  const works = { works: true } as const;
  const reflink = ["xfs", "btrfs"].includes(fileSystem) ? works : ({ works: false, because: "it is full, and could not be tried" } as const);
  return { reflink, hardLink: works, direct: { works: false, because: "ENOSPC" } };
}

function isFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "");
}

async function attempt(work: () => Promise<void>): Promise<Probed> {
  try {
    await work();
    return { works: true };
  } catch (error) {
    if (isFull(error)) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    return { works: false, because: code ?? message };
  }
}

async function writeDirectly(path: string): Promise<void> {
  await using file = await open(path, constants.O_WRONLY | constants.O_DIRECT);
  await file.write(alignedBlocks(1, ALIGNMENT_BYTES)[0] as Uint8Array, 0, ALIGNMENT_BYTES, 0);
}

/** statfs(2), `f_type`. */
const FILE_SYSTEMS = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x01021994, "tmpfs"],
  [0x6969, "nfs"],
  [0x794c7630, "overlayfs"],
  [0x2fc12fc1, "zfs"],
  [0x65735546, "fuse"],
]);

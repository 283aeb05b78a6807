import { type FileHandle, mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { formatBytes, KiB, MiB } from "#/lib/units.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import type { Content } from "#/transfer/copy.ts";

/** Where temporary files may be, for bytes that no tool can read, or write, where they belong. */
export interface Staging {
  /** Absolute, in the staging folder; one operation's own. The files' names begin with it. */
  readonly path: string;
  /** For all files of the folder together. */
  readonly sizeBytesMax: number;
}

/** How far ahead of content of unknown length its promise is: small, since what is staged may be about to end. */
const STEP_BYTES = 4 * MiB;

const ROLES = ["source", "target"] as const;
type Role = (typeof ROLES)[number];

/** A temporary file whose space was promised before its first byte. It goes when it is disposed of. */
export class StagingFile implements AsyncDisposable {
  readonly path: string;
  readonly #sizeBytesMax: number;

  private constructor(path: string, sizeBytesMax: number) {
    this.path = path;
    this.#sizeBytesMax = sizeBytesMax;
  }

  /** An empty file in place of what an earlier attempt may have left. `pool_full` where the folder or its disk has no room for `sizeBytes`. */
  static async create({ path, sizeBytesMax }: Staging, role: Role, sizeBytes: number): Promise<StagingFile> {
    const file = new StagingFile(`${path}.${role}`, sizeBytesMax);
    await telling(async () => {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await rm(file.path, { force: true });
      promisedBytes.delete(file.path);
      await checkDisk(dirname(path), sizeBytes);
      promise(file.path, sizeBytes, sizeBytesMax);
      await createEmpty(file.path);
    });
    return file;
  }

  /** Promises more where content of unknown length comes to more than was promised. `pool_full` as for `create()`. */
  async reach(sizeBytes: number): Promise<void> {
    const shortBytes = sizeBytes - (promisedBytes.get(this.path) ?? 0);
    if (shortBytes <= 0) return;
    await telling(() => checkDisk(dirname(this.path), shortBytes + STEP_BYTES));
    promise(this.path, shortBytes + STEP_BYTES, this.#sizeBytesMax);
  }

  async allocatedBytes(): Promise<number> {
    return (await telling(() => stat(this.path))).blocks * 512;
  }

  /** What was written, in order. */
  async content(signal?: AbortSignal): Promise<Content> {
    const { size } = await telling(() => stat(this.path));
    return { blocks: blocksOf(this.path, signal), sizeBytes: size };
  }

  async writer(signal?: AbortSignal): Promise<DiskWriter> {
    const file = await telling(() => open(this.path, "r+"));
    return {
      concurrency: 2,
      write: async (block, offsetBytes) => {
        throwIfCancelled(signal);
        await telling(() => writeAll(file, block, offsetBytes));
      },
      finish: (sizeBytes) =>
        telling(async () => {
          await using closing = file;
          await closing.truncate(sizeBytes);
        }),
      abort: () => telling(() => file.close()),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    promisedBytes.delete(this.path);
    await rm(this.path, { force: true }).catch(() => {}); // It must not hide how the work ended; the next start removes it.
  }
}

/** Removes the temporary files that a crash has left in the folder, and nothing else. For the start, before anything is staged. */
export async function clearStaging(dir: string): Promise<void> {
  const names = await readdir(dir).catch(() => []); // There is no folder before the first file.
  for (const name of names) if (OURS.test(name)) await rm(join(dir, name), { force: true });
}

/** The id of a disk, and a role. The folder is an operator's choice: it may hold other things. */
const OURS = new RegExp(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\\.(${ROLES.join("|")})$`);

/** What the files that are there now may come to, by path. One process has a data folder for itself. */
const promisedBytes = new Map<string, number>();

function promise(path: string, sizeBytes: number, sizeBytesMax: number): void {
  const othersBytes = sumOf(othersIn(dirname(path)).map(([, bytes]) => bytes));
  if (othersBytes + sizeBytes > sizeBytesMax) {
    throw new AppError(
      "pool_full",
      `Cannot stage ${formatBytes(sizeBytes)}: of the ${formatBytes(sizeBytesMax)} for temporary files ${formatBytes(othersBytes)} are promised already.`,
    );
  }
  promisedBytes.set(path, (promisedBytes.get(path) ?? 0) + sizeBytes);
}

/** What others have written is missing from the free space already; the rest of what they were promised is not. */
async function checkDisk(dir: string, sizeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const due = await Promise.all(othersIn(dir).map(async ([path, bytes]) => Math.max(0, bytes - (await allocatedAt(path)))));
  const freeBytes = Math.max(0, bavail * bsize - sumOf(due));
  if (sizeBytes <= freeBytes) return;
  throw new AppError("pool_full", `Cannot stage ${formatBytes(sizeBytes)}: the disk of the staging folder has ${formatBytes(freeBytes)} free that are not promised to others.`);
}

function othersIn(dir: string): [string, number][] {
  return [...promisedBytes].filter(([path]) => dirname(path) === dir);
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

async function allocatedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ blocks }) => blocks * 512,
    () => 0,
  );
}

async function createEmpty(path: string): Promise<void> {
  await using _ = await open(path, "wx", 0o600);
}

async function* blocksOf(path: string, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  await using file = await open(path, "r");
  const buffer = new Uint8Array(256 * KiB);
  for (;;) {
    throwIfCancelled(signal);
    const { bytesRead } = await telling(() => file.read(buffer, 0, buffer.length));
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten;
  }
}

async function telling<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined || error instanceof AppError) throw error;
    throw new AppError(code === "ENOSPC" || code === "EDQUOT" ? "pool_full" : "unavailable", `Cannot use the staging folder: ${message}`, { cause: error });
  }
}

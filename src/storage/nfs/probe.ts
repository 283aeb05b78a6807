import { mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { KiB } from "#/lib/units.ts";
import { operationCounts } from "#/storage/nfs/mount-stats.ts";
import type { NfsMount } from "#/storage/nfs/mounts.ts";
import { copyFileRange } from "#/tools/libc.ts";

/** Whether the server copies by itself, and why that is so or not. */
export interface CopyOffload {
  readonly works: boolean;
  readonly because: string;
}

const TRIAL_BYTES = 64 * KiB;

/**
 * Copies a small file and looks at the client's counters: where the server has no COPY, the kernel reads and writes all bytes itself,
 * and copy_file_range(2) succeeds all the same. Errors: those of the file system.
 */
export async function probeCopyOffload(directory: string, mount: NfsMount | undefined): Promise<CopyOffload> {
  if (!mount) return { works: true, because: "it is a local folder, where the kernel copies" };
  const before = await operationCounts(mount.mountPoint);
  const refused = await copyATrial(directory);
  const after = await operationCounts(mount.mountPoint);
  const done = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  if (refused) return { works: false, because: `copying inside the share fails: ${refused}` };
  // Its copy may be a clone: the client tries that first where both ends are aligned.
  if (done("COPY") + done("CLONE") > 0) return { works: true, because: "NFSv4.2 COPY works: the server copies by itself" };
  return { works: false, because: `the server has no NFSv4.2 COPY (mounted with version ${mount.version}): bytes would pass through this machine` };
}

async function copyATrial(directory: string): Promise<string | undefined> {
  const folder = await mkdtemp(join(directory, ".mica-probe-"));
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  await using source = await open(join(folder, "source"), "w+");
  await using target = await open(join(folder, "target"), "w+");
  await source.write(Buffer.alloc(TRIAL_BYTES, 1));
  await source.sync();
  try {
    await copyFileRange({ fd: source.fd, offset: 0 }, { fd: target.fd, offset: 0 }, TRIAL_BYTES);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
}

import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GiB, MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

const timeoutMs = 2 * MINUTE_MS;

/** A file system of its own, mounted in a temporary folder; gone when it is disposed of. Needs root. */
export interface MountedFileSystem extends AsyncDisposable {
  readonly path: string;
}

/** One that can be away for a while: an empty folder is there instead. */
export interface RemovableFileSystem extends MountedFileSystem {
  unmount(): Promise<void>;
  mount(): Promise<void>;
}

/** How each is made; `device` is a block device or, where none is named, the file itself with `-o loop`. */
const MAKERS = {
  ext4: (device: string) => ["mkfs.ext4", "-q", "-F", device],
  xfs: (device: string) => ["mkfs.xfs", "-q", "-f", "-m", "reflink=1", device],
  btrfs: (device: string) => ["mkfs.btrfs", "-q", "-f", device],
} as const;

/** Makes a file system in a sparse file of that size and mounts it, on sectors of 512 or 4096 bytes. */
export async function mountNew(kind: keyof typeof MAKERS, { sectorBytes = 512, sizeBytes = GiB } = {}): Promise<RemovableFileSystem> {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), `mica-${kind}-`));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const [image, path] = [join(folder, "image"), join(folder, "mounted")];
  await mkdir(path);
  await writeFile(image, "");
  await truncate(image, sizeBytes);
  const attach = ["--find", "--show", "--direct-io=off", "--sector-size", String(sectorBytes), image];
  const device = (await run("losetup", attach, { timeoutMs })).stdout.trim();
  undo.defer(async () => void (await run("losetup", ["--detach", device], { timeoutMs })));
  const [program, ...args] = MAKERS[kind](device) as [string, ...string[]];
  await run(program, args, { timeoutMs });
  let isMounted = false;
  const mount = async () => {
    await run("mount", ["-t", kind, device, path], { timeoutMs });
    isMounted = true;
  };
  // Lazily: a test that left a file open must not leave a mount behind too.
  const unmount = async () => {
    if (isMounted) await run("umount", ["--lazy", path], { timeoutMs });
    isMounted = false;
  };
  undo.defer(unmount);
  await mount();
  return { path, mount, unmount, [Symbol.asyncDispose]: moved(undo) };
}

/** Mounts a file system in memory that holds no more than `sizeBytes`. */
export async function mountTmpfs(sizeBytes: number): Promise<MountedFileSystem> {
  await using undo = new AsyncDisposableStack();
  const path = await mkdtemp(join(tmpdir(), "mica-tmpfs-"));
  undo.defer(() => rm(path, { recursive: true, force: true }));
  await run("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "mica-test", path], { timeoutMs });
  undo.defer(async () => void (await run("umount", ["--lazy", path], { timeoutMs })));
  return { path, [Symbol.asyncDispose]: moved(undo) };
}

function moved(undo: AsyncDisposableStack): () => Promise<void> {
  const kept = undo.move();
  return () => kept.disposeAsync();
}

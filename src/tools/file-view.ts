import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { makeTemporaryFolder } from "#/lib/temporary-folder.ts";
import { HOUR_MS, SECOND_MS } from "#/lib/units.ts";
import { objectArguments } from "#/tools/qemu-img.ts";
import { type RunOptions, run } from "#/tools/run.ts";

/** A disk as its guest sees it, as a plain file that tools can change. */
export interface FileView extends AsyncDisposable {
  /** Only there for programs in the mount namespace of `mountsOf`. */
  readonly path: string;
  /** The same file for ourselves. */
  readonly outerPath: string;
  /** For `RunOptions`. */
  readonly mountsOf: number;
}

/** It is ready after some 30 ms. */
const READY_MS_MAX = 30 * SECOND_MS;
const WATCH_MS = 5;

/**
 * Shows a disk of any format, made by us, as a file, by FUSE from a qemu-storage-daemon of its own; the disk is closed when the view is disposed. The mount is in a namespace
 * of the daemon's, so that it goes with it, also when both of us are killed. Needs /dev/fuse and the right to mount, as root has it; `tool_failed` says what is missing.
 */
export async function openFileView(node: BlockNode, { signal }: Pick<RunOptions, "signal"> = {}): Promise<FileView> {
  const folder = await makeTemporaryFolder("view");
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "disk");
  await writeFile(path, "");
  const stop = new AbortController();
  const ended = run("unshare", ["--mount", "--", ...daemonCommand(node, folder)], { timeoutMs: HOUR_MS, signal: stop.signal });
  ended.catch(() => stop.abort());
  undo.defer(async () => {
    stop.abort();
    await ended.catch(() => {});
  });
  const mountsOf = await pidWhenReady(join(folder, "pid"), signal ? AbortSignal.any([signal, stop.signal]) : stop.signal).catch(async (error: unknown) => {
    throwIfCancelled(signal);
    if (stop.signal.aborted) await ended;
    throw error;
  });
  const resources = undo.move();
  return { path, outerPath: `/proc/${mountsOf}/root${path}`, mountsOf, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** The file for the daemon's process id appears when its exports are ready (storage-daemon/qemu-storage-daemon.c). */
function daemonCommand(node: BlockNode, folder: string): string[] {
  const exported = { type: "fuse", id: "view", "node-name": "disk", mountpoint: join(folder, "disk"), writable: true };
  return ["qemu-storage-daemon", ...objectArguments([node]), "--blockdev", JSON.stringify({ ...node, "node-name": "disk" }), "--export", JSON.stringify(exported), "--pidfile", join(folder, "pid")];
}

async function pidWhenReady(pidfile: string, stopped: AbortSignal): Promise<number> {
  const limitMs = performance.now() + READY_MS_MAX;
  for (;;) {
    const pid = Number(await readFile(pidfile, "utf8").catch(() => ""));
    if (pid > 0) return pid;
    if (performance.now() > limitMs) throw new AppError("tool_timed_out", "qemu-storage-daemon did not get ready");
    await sleep(WATCH_MS, undefined, { signal: stopped });
  }
}

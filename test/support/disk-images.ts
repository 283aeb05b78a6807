import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { type Inspection, StreamInspector } from "#/format/inspect.ts";
import { KiB, MiB } from "#/lib/units.ts";

/** Real images, made by qemu-img in a folder that goes when the tests of the file end, and ways to spoil them. */
const folder = mkdtempSync(join(tmpdir(), "mica-format-"));
after(() => rmSync(folder, { recursive: true, force: true }));

export const GUEST_BYTES = 3 * MiB;
let count = 0;

/**
 * To make a LUKS header, qemu-img measures how fast the CPU derives keys, and gives up where other processes disturb it
 * (crypto/pbkdf.c; seen in 1 of 20 runs on a busy machine). Nothing else is tried again.
 */
const DISTURBED = /Unable to get accurate CPU usage/;
const TRIES_MAX = 10;

/** Runs qemu-img in the folder, within a time limit; answers what it prints. */
export function qemuImg(...args: readonly string[]): string {
  for (let tries = 1; ; tries++) {
    try {
      return execFileSync("qemu-img", args, { cwd: folder, timeout: 60_000, stdio: ["ignore", "pipe", "pipe"] }).toString();
    } catch (error) {
      if (tries === TRIES_MAX || !DISTURBED.test(String(error))) throw error;
    }
  }
}

/** A path for a file of that content in the folder; a new name each time. */
export function stored(bytes: Uint8Array): string {
  const path = join(folder, `${count++}.img`);
  writeFileSync(path, bytes);
  return path;
}

/** A small disk with some data, holes, and nothing that looks like a partition table. */
export function guestDisk(): Uint8Array {
  const disk = new Uint8Array(GUEST_BYTES);
  for (let at = 70 * KiB; at < 270 * KiB; at++) disk[at] = (at * 2_654_435_761) >>> 24;
  return disk;
}

/** The guest disk converted by `qemu-img convert -O driver -o options…`. */
export function converted(driver: string, options: readonly string[] = [], flags: readonly string[] = []): Uint8Array {
  const target = join(folder, `${count++}.${driver}`);
  const wanted = options.flatMap((option) => ["-o", option]);
  qemuImg("convert", "-f", "raw", "-O", driver, ...flags, ...wanted, stored(guestDisk()), target);
  return readFileSync(target);
}

/** An empty image made by `qemu-img create -f driver args…`; sizes are in qemu-img's words. */
export function created(driver: string, args: readonly string[], size?: string): Uint8Array {
  const target = join(folder, `${count++}.${driver}`);
  qemuImg("create", "-q", "-f", driver, ...args, target, ...(size ? [size] : []));
  return readFileSync(target);
}

/** The image after more runs of qemu-img on it; `PATH` in `args` stands for it. */
export function worked(image: Uint8Array, ...args: readonly string[]): Uint8Array {
  const path = stored(image);
  qemuImg(...args.map((arg) => (arg === "PATH" ? path : arg)));
  return readFileSync(path);
}

/** A copy of `bytes`, changed. */
export function edited(bytes: Uint8Array, change: (view: DataView, copy: Uint8Array) => void): Uint8Array {
  const copy = new Uint8Array(bytes);
  change(new DataView(copy.buffer), copy);
  return copy;
}

export function putText(copy: Uint8Array, offset: number, text: string): void {
  copy.set(Buffer.from(text, "latin1"), offset);
}

/** A streamOptimized VMDK as VirtualBox and VMware write it: the grain directory is announced by a copy of the header at the end. */
export function withVmdkFooter(image: Uint8Array): Uint8Array {
  const marker = edited(new Uint8Array(512), (view) => view.setUint32(12, 3, true));
  const announcing = edited(image, (view) => view.setBigUint64(56, (1n << 64n) - 1n, true));
  return Buffer.concat([announcing, marker, image.subarray(0, 512), new Uint8Array(512)]);
}

export function inspect(...chunks: readonly Uint8Array[]): Inspection {
  const inspector = new StreamInspector();
  for (const chunk of chunks) inspector.update(chunk);
  return inspector.finish();
}

/** The rules by which the content is refused. */
export function rulesOf(bytes: Uint8Array): readonly string[] {
  return inspect(bytes).problems.map(({ rule }) => rule);
}

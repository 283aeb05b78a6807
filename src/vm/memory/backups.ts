import { createHash } from "node:crypto";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { LISTED_RANGES_MAX } from "#/lib/ranges.ts";
import { KiB } from "#/lib/units.ts";
import { isZero } from "#/lib/zeroes.ts";
import { convert, info } from "#/tools/qemu-img.ts";
import { openReader, openWriter } from "#/tools/qemu-nbd.ts";
import type { BackupDisk, BackupRequest, BackupView, ByteRange, MirrorOptions } from "#/vm/backup.ts";
import type { GuestDisk } from "#/vm/guest.ts";
import type { MemoryGuest, Remembered } from "#/vm/memory/guest.ts";

/** Views, checkpoints and mirrors of the twin's guests, on the real bytes of their disks: nothing writes to these while a call is under way. */

/** As QEMU's dirty bitmaps. */
const BLOCK_BYTES = 64 * KiB;

export async function beginBackup(guest: MemoryGuest, request: BackupRequest): Promise<BackupView[]> {
  const { backup } = guest;
  const disks = request.disks.map((wanted) => ({ ...wanted, node: diskOf(guest, wanted.target).node }));
  if (backup?.name === request.name) return [...backup.views];
  if (backup) throw new AppError("conflict", `guest ${guest.config.id} has the backup ${backup.name} open`);
  for (const { target } of disks) requireUnread(guest, target);
  for (const disk of disks) rememberedAt(guest, disk);
  const views = await Promise.all(disks.map((disk) => viewOf(guest, disk, request)));
  if (request.checkpoint !== undefined) await remember(guest, request.checkpoint, disks);
  guest.backup = { name: request.name, views };
  return views;
}

export function withoutChanges({ target, node, sizeBytes }: BackupView): BackupView {
  return { target, node, sizeBytes };
}

/** Nobody can read a view any more. */
export async function endBackup(guest: MemoryGuest | undefined): Promise<void> {
  if (guest) guest.backup = undefined;
}

/** Makes the node hold what the disk does, and notes that it is to. */
export async function beginMirror(guest: MemoryGuest, target: string, node: BlockNode, { signal }: Pick<MirrorOptions, "signal">): Promise<void> {
  const disk = diskOf(guest, target);
  const present = guest.mirrors.get(target);
  if (present && JSON.stringify(present) !== JSON.stringify(node)) throw new AppError("conflict", `disk ${target} is being copied to somewhere else`);
  if (!present) requireUnread(guest, target);
  await equalise(disk.node, node, signal);
  guest.mirrors.set(target, node);
}

/** Whether there was one. */
export async function endMirror(guest: MemoryGuest | undefined, target: string): Promise<boolean> {
  const node = guest?.mirrors.get(target);
  if (!guest || !node) return false;
  await equalise(diskOf(guest, target).node, node);
  return guest.mirrors.delete(target);
}

/** While they are read or copied, disks stay as they are. */
export function requireUnread(guest: MemoryGuest, target?: string): void {
  const isRead = guest.backup?.views.some((view) => target === undefined || view.target === target);
  const isCopied = target === undefined ? guest.mirrors.size > 0 : guest.mirrors.has(target);
  if (isRead || isCopied) throw new AppError("conflict", `a view or a copy of disk ${target ?? ""} of guest ${guest.config.id} is open`);
}

export function diskOf(guest: MemoryGuest, target: string): GuestDisk {
  const disk = guest.live?.find((one) => one.target === target);
  if (!disk) throw new AppError("not_found", `guest ${guest.config.id} has no disk ${target}`);
  return disk;
}

type DiskToView = BackupDisk & { readonly node: BlockNode };

async function viewOf(guest: MemoryGuest, disk: DiskToView, { folder, checkpoint }: BackupRequest): Promise<BackupView> {
  const { target, node } = disk;
  const { virtualSizeBytes: sizeBytes } = await info(node);
  const filename = join(folder, `${target}.raw`);
  await makeEmpty(filename, sizeBytes);
  const view: BlockNode = { driver: "raw", file: { driver: "file", filename } };
  await convert(node, view);
  const before = rememberedAt(guest, disk);
  const changed = before && differences(before.hashes, await hashesOf(view), sizeBytes);
  return { target, node: view, sizeBytes, ...(changed && changed.length <= (disk.changedCountMax ?? LISTED_RANGES_MAX) && { changed }), ...(checkpoint !== undefined && { isRemembered: remembers(node) }) };
}

/** Also where a call that was killed has left one. */
async function makeEmpty(filename: string, sizeBytes: number): Promise<void> {
  try {
    await writeFile(filename, "");
    await truncate(filename, sizeBytes);
  } catch (cause) {
    throw new AppError("tool_failed", `QEMU cannot write ${filename}: ${(cause as Error).message}`, { cause });
  }
}

/** Undefined where nobody asked. */
function rememberedAt(guest: MemoryGuest, { target, since, node }: DiskToView): Remembered | undefined {
  if (since === undefined) return undefined;
  const remembered = guest.checkpoints.get(since)?.get(target);
  if (remembered && JSON.stringify(remembered.node) === JSON.stringify(node)) return remembered;
  throw new AppError("checkpoint_lost", `disk ${target} of guest ${guest.config.id} does not know what changed since ${since}`);
}

async function remember(guest: MemoryGuest, checkpoint: string, disks: readonly DiskToView[]): Promise<void> {
  const able = disks.filter(({ node }) => remembers(node));
  if (able.length === 0) return;
  const entries = await Promise.all(able.map(async ({ target, node }) => [target, { node, hashes: await hashesOf(node) }] as const));
  guest.checkpoints.set(checkpoint, new Map(entries));
}

function remembers({ driver }: BlockNode): boolean {
  return driver === "qcow2";
}

/** One of each block; empty for zeroes. */
async function hashesOf(node: BlockNode, signal?: AbortSignal): Promise<string[]> {
  await using reader = await openReader(node, { signal });
  const buffer = Buffer.alloc(BLOCK_BYTES);
  const hashes: string[] = [];
  for (let start = 0; start < reader.sizeBytes; start += BLOCK_BYTES) {
    const block = buffer.subarray(0, Math.min(BLOCK_BYTES, reader.sizeBytes - start));
    const { zero } = await reader.read(block, start);
    hashes.push(zero || isZero(block) ? "" : createHash("sha1").update(block).digest("base64"));
  }
  return hashes;
}

function differences(before: readonly string[], now: readonly string[], sizeBytes: number): ByteRange[] {
  const ranges: { start: number; end: number }[] = [];
  for (const [i, hash] of now.entries()) {
    if (hash === (before[i] ?? "")) continue;
    const [start, end] = [i * BLOCK_BYTES, Math.min((i + 1) * BLOCK_BYTES, sizeBytes)];
    const last = ranges.at(-1);
    if (last?.end === start) last.end = end;
    else ranges.push({ start, end });
  }
  return ranges;
}

/** Writes what differs, and nothing else: an overlay gets what the source's own layer has, or less. */
async function equalise(source: BlockNode, target: BlockNode, signal?: AbortSignal): Promise<void> {
  const { virtualSizeBytes } = await info(source);
  const differing = differences(await hashesOf(target, signal), await hashesOf(source, signal), virtualSizeBytes);
  if (differing.length === 0) return;
  await using reader = await openReader(source, { signal });
  await using writer = await openWriter(target, { signal });
  for (const range of differing) {
    for (let start = range.start; start < range.end; start += BLOCK_BYTES) {
      const block = Buffer.alloc(Math.min(BLOCK_BYTES, range.end - start)); // Zeroes, where it reads a hole.
      await reader.read(block, start);
      await writer.write(block, start);
    }
  }
  await writer.flush();
}

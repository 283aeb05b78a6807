import { open } from "node:fs/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { joined, union } from "#/lib/ranges.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import type { DiskFolder, LocatedDisk } from "#/storage/file/folder.ts";
import { extentsOf } from "#/tools/extents.ts";
import { mapNode } from "#/storage/map-node.ts";

type Options = Pick<WorkOptions, "signal">;

/** Two files of one file system that shares blocks: what both have in the same place is the same. */
export function changedExtents(from: LocatedDisk, to: LocatedDisk, range: ByteRange, options: Options): AsyncIterable<ByteRange> {
  return joined(differing(from, to, { start: range.start, end: Math.min(range.end, to.sizeBytes) }, options));
}

async function* differing(from: LocatedDisk, to: LocatedDisk, { start, end }: ByteRange, { signal }: Options): AsyncIterable<ByteRange> {
  await using older = await open(from.path, "r");
  await using newer = await open(to.path, "r");
  const before = placesOf(older.fd, { start, end }, from.sizeBytes);
  const now = placesOf(newer.fd, { start, end }, to.sizeBytes);
  let [a, b] = [await before.next(), await now.next()];
  for (let at = start; !a.done && !b.done; ) {
    throwIfCancelled(signal);
    const next = Math.min(a.value.end, b.value.end);
    if (!isSame(a.value, b.value)) yield { start: at, end: next };
    at = next;
    if (a.value.end === next) a = await before.next();
    if (b.value.end === next) b = await now.next();
  }
}

interface Placed extends ByteRange {
  /** Of data: how far its place on the file system is from that in the file. Undefined where nobody can tell. */
  readonly place: number | "zero" | undefined;
}

function isSame({ place }: Placed, other: Placed): boolean {
  return place !== undefined && place === other.place;
}

/** Where each part of a range of a file is, without gaps. */
async function* placesOf(fd: number, { start, end }: ByteRange, sizeBytes: number): AsyncGenerator<Placed> {
  const last = Math.min(end, sizeBytes);
  let at = start;
  if (at < last) {
    for await (const { logicalBytes, lengthBytes, physicalBytes, isUnwritten } of extentsOf(fd, at)) {
      const part = { start: Math.max(at, logicalBytes), end: Math.min(last, logicalBytes + lengthBytes) };
      if (part.start >= last) break; // Space may be held ready beyond the end of the file.
      if (at < part.start) yield { start: at, end: part.start, place: "zero" };
      if (part.start < part.end) yield { ...part, place: isUnwritten ? "zero" : physicalBytes === undefined ? undefined : physicalBytes - logicalBytes };
      at = Math.max(at, part.end);
    }
  }
  if (at < end) yield { start: at, end, place: "zero" };
}

/** Two disks that stand, by any number of overlays each, on the same one: what was written into none of these overlays is the same. */
export async function* changedLayers(folder: DiskFolder, from: LocatedDisk, to: LocatedDisk, range: ByteRange, options: Options): AsyncIterable<ByteRange> {
  const [before, now] = [await folder.chain(from), await folder.chain(to)];
  const common = now.find(({ id }) => before.some((disk) => disk.id === id));
  if (!common) throw new AppError("not_supported", "the two read through no common disk: all of them may differ");
  const inside = { start: range.start, end: Math.min(range.end, to.sizeBytes) };
  const written = (chain: readonly LocatedDisk[]) => writtenAbove(folder, chain, common, inside, options);
  yield* union(written(before), written(now));
}

async function* writtenAbove(folder: DiskFolder, chain: readonly LocatedDisk[], common: LocatedDisk, range: ByteRange, options: Options): AsyncIterable<ByteRange> {
  const [disk, height] = [chain[0] as LocatedDisk, chain.findIndex(({ id }) => id === common.id)];
  if (height === 0) return;
  for await (const { start, end, kind, depth } of mapNode(await folder.node(disk, "raw"), range, options)) {
    // A disk that has grown reads as zeroes beyond its parent's end, and these are told to be its own.
    const isGrowth = kind === "zero" && start >= common.sizeBytes;
    if (depth < height && !isGrowth) yield { start, end };
  }
}

import { setImmediate as nextTurn } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import { MiB } from "#/lib/units.ts";
import { isZero } from "#/lib/zeroes.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import { mapNode } from "#/storage/map-node.ts";
import { isPlain, isReadable, openSource, type Source, withFacts } from "#/transfer/source.ts";

/** A part of what a guest sees in a disk. */
export interface DiskExtent extends ByteRange {
  /** `zero`: it surely reads as zeroes. `data`: it may. */
  readonly kind: "data" | "zero";
}

/** `map`: by the tables of the disk and of the storage, without reading content. `reading`: of all of it, where there are no such tables. */
export interface DiskExtents {
  readonly how: "map" | "reading";
  readonly extents: AsyncIterable<DiskExtent>;
}

/**
 * Where a range of what a guest sees holds data: in order, without gaps, neighbours of one kind as one. Of a disk that is being written to, it is the view
 * of a moment; whoever writes is not disturbed. Errors: `not_supported` where the content cannot be looked at in place; of the pool, and of qemu-img.
 */
export async function extentsOf(given: Source, range: ByteRange, options: Pick<WorkOptions, "signal"> = {}): Promise<DiskExtents> {
  const { source } = await withFacts({ source: given });
  const obstacle = obstacleTo(source);
  if (obstacle) throw new AppError("not_supported", `Cannot tell where disk ${source.disk.id} holds data: ${obstacle}.`);
  if (!isReadable(source)) return { how: "reading", extents: alike(byReading(source, range, options)) };
  return { how: "map", extents: alike(mapNode(await openSource(source), range, options)) };
}

/** Why it cannot be looked at; undefined where it can. */
function obstacleTo({ pool, disk, onlyInOrder }: Source): string | undefined {
  if (disk.packed) return `it is kept as a compressed stream, in which its ${disk.packed} disk would have to be unpacked first`;
  if (disk.format === "opaque") return "its content is opaque: no tool may open it";
  if (onlyInOrder) return onlyInOrder;
  if (pool.can.addressable === "none" && !isPlain(disk.format)) return pool.can.why.addressable ?? "no tool can open it in place";
  return undefined;
}

async function* byReading({ pool, disk }: Source, { start, end }: ByteRange, options: Pick<WorkOptions, "signal">): AsyncIterable<DiskExtent> {
  let at = start;
  for await (const block of pool.read(disk, { start, end: Math.min(end, disk.virtualSizeBytes) }, options)) {
    yield { start: at, end: at + block.length, kind: isZero(block) ? "zero" : "data" };
    at += block.length;
    if (at % TURN_BYTES === 0) await nextTurn();
  }
}

/** Holes in memory never wait: after so much others get their turn. */
const TURN_BYTES = 16 * MiB;

async function* alike(extents: AsyncIterable<DiskExtent>): AsyncIterable<DiskExtent> {
  let last: DiskExtent | undefined;
  for await (const { start, end, kind } of extents) {
    if (last?.kind === kind) last = { ...last, end };
    else {
      if (last) yield last;
      last = { start, end, kind };
    }
  }
  if (last) yield last;
}

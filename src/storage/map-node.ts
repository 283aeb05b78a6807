import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { GiB } from "#/lib/units.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import { map } from "#/tools/qemu-img.ts";

/** A part of what a guest sees. */
export interface MappedPart extends ByteRange {
  /** `zero`: it surely reads as zeroes. `data`: it may. */
  readonly kind: "data" | "zero";
  /** In which disk of a chain it was found: 0 is the node's own. */
  readonly depth: number;
}

/** Of the first part that is looked at; each later one is twice as long: who reads a page of the map does not wait for all of it. */
const [WINDOW_BYTES, WINDOW_BYTES_MAX] = [GiB, 32 * GiB] as const;

/**
 * The map of a range of a disk, as QEMU finds it, in order and without gaps, up to the end of the disk. Its memory is that of one window: half a million
 * parts at most. Errors: as `run()`.
 */
export async function* mapNode(node: BlockNode, { start, end }: ByteRange, { signal }: Pick<WorkOptions, "signal"> = {}): AsyncIterable<MappedPart> {
  let lengthBytes = WINDOW_BYTES;
  for (let at = start; at < end; lengthBytes = Math.min(2 * lengthBytes, WINDOW_BYTES_MAX)) {
    throwIfCancelled(signal);
    const window = { start: at, end: Math.min(end, at + lengthBytes) };
    const parts = await partsOf(node, window, signal);
    yield* parts;
    at = window.end;
    if ((parts.at(-1)?.end ?? 0) < at) return; // The disk ends here.
  }
}

async function partsOf(node: BlockNode, range: ByteRange, signal: AbortSignal | undefined): Promise<MappedPart[]> {
  const parts: MappedPart[] = [];
  const add = ({ startBytes, lengthBytes, data, zero, depth }: Parameters<Parameters<typeof map>[1]>[0]) => {
    const part = { start: Math.max(range.start, startBytes), end: Math.min(range.end, startBytes + lengthBytes) };
    if (part.start < part.end) parts.push({ ...part, kind: data && !zero ? "data" : "zero", depth });
  };
  await map(node, add, { range, signal });
  return parts;
}

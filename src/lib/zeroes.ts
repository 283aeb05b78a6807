import { KiB } from "#/lib/units.ts";

/**
 * A block of zeroes that whoever reads a hole may hand out: `isZero()` knows it without looking. Nobody writes to it.
 * As large as the buffers that disks are read with.
 */
export const ZEROES: Uint8Array = new Uint8Array(256 * KiB);

/** Whether the block holds nothing but zeroes. Comparing runs at memory speed (10–15 GiB per second), a loop does not. */
export function isZero(block: Uint8Array): boolean {
  if (block.buffer === ZEROES.buffer) return true;
  // Most data shows in its first bytes.
  for (let i = 0; i < 16 && i < block.length; i++) if (block[i] !== 0) return false;
  for (let start = 0; start < block.length; start += ZEROES.length) {
    const part = block.subarray(start, start + ZEROES.length);
    if (Buffer.compare(part, ZEROES.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

/** The parts of a block, in order, that are not zeroes: each starts and ends at a multiple of `granuleBytes`, or at the block's end. */
export function dataRuns(block: Uint8Array, granuleBytes: number): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = [];
  for (let start = 0; start < block.length; start += granuleBytes) {
    const end = Math.min(start + granuleBytes, block.length);
    if (isZero(block.subarray(start, end))) continue;
    const last = runs.at(-1);
    if (last?.end === start) last.end = end;
    else runs.push({ start, end });
  }
  return runs;
}

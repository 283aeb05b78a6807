import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { MiB } from "#/lib/units.ts";
import { isZero } from "#/lib/zeroes.ts";
import type { DiskWriter } from "#/storage/driver.ts";

/** A block is written in one call: large enough that calls cost nothing, small enough that a few of them are in memory. */
export const BLOCK_BYTES = 4 * MiB;

/**
 * Writes a stream of content into a new disk, zeroes left out, and ends the writer: `finish` at `sizeBytes` (the stream's own
 * length where undefined), or `abort` where anything fails. Returns the bytes that were read and written.
 */
export async function copyInto(
  writer: DiskWriter,
  content: AsyncIterable<Uint8Array>,
  { sizeBytes, onBytes }: { sizeBytes?: number | undefined; onBytes?: ((totalBytes: number) => void) | undefined } = {},
): Promise<{ bytesRead: number; bytesWritten: number }> {
  try {
    const [block] = alignedBlocks(1, BLOCK_BYTES);
    if (!block) throw new Error("Broken invariant: one block");
    let bytesRead = 0;
    let bytesWritten = 0;
    let filled = 0;
    const flush = async () => {
      const part = block.subarray(0, filled);
      if (!isZero(part)) {
        await writer.write(part, bytesRead - filled);
        bytesWritten += filled;
      }
      filled = 0;
    };
    for await (const chunk of content) {
      for (let taken = 0; taken < chunk.length; ) {
        const piece = chunk.subarray(taken, taken + BLOCK_BYTES - filled);
        block.set(piece, filled);
        filled += piece.length;
        taken += piece.length;
        bytesRead += piece.length;
        if (filled === BLOCK_BYTES) await flush();
      }
      onBytes?.(bytesRead);
    }
    await flush();
    await writer.finish(sizeBytes ?? bytesRead);
    return { bytesRead, bytesWritten };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

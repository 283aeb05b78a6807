import { AppError } from "#/domain/errors.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import type { DiskWriter, WorkOptions } from "#/storage/driver.ts";
import { atOnce, Outlet } from "#/transfer/outlet.ts";
import { Slots } from "#/transfer/slots.ts";

/** Content as it is read: blocks in order, whose memory is used again, and how many bytes they are in all. */
export interface Content {
  readonly blocks: AsyncIterable<Uint8Array>;
  readonly sizeBytes: number;
}

/**
 * Writes content into a new disk, through us and in bounded memory, zeroes left out; the disk is `sizeBytes` long in the end.
 * Returns how many bytes were read that were not holes. The writer is finished or aborted. Errors: those of both ends.
 */
export async function copyInto(writer: DiskWriter, content: Content, sizeBytes: number, options: WorkOptions = {}): Promise<number> {
  const readBytes = await pour(content, writer, options).catch(async (error: unknown) => {
    await writer.abort().catch(() => {}); // What it leaves is partial work, which the audit finds: the first error says more.
    throw error;
  });
  await writer.finish(sizeBytes);
  return readBytes;
}

async function pour({ blocks, sizeBytes }: Content, writer: DiskWriter, { onProgress }: WorkOptions): Promise<number> {
  using slots = new Slots();
  const out = new Outlet(slots, atOnce(writer));
  let [doneBytes, readBytes] = [0, 0];
  try {
    for await (const block of blocks) {
      await out.writeSparse(block);
      doneBytes += block.length;
      if (block.buffer !== ZEROES.buffer) readBytes += block.length;
      onProgress?.(doneBytes / sizeBytes);
    }
    await out.flush();
  } finally {
    await out.close();
  }
  if (doneBytes !== sizeBytes) throw new AppError("disk_not_found", `it ends at byte ${doneBytes}, not ${sizeBytes}`);
  return readBytes;
}

import { AppError } from "#/domain/errors.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import type { DiskWriter, WorkOptions } from "#/storage/driver.ts";
import { atOnce, Outlet } from "#/transfer/outlet.ts";
import { Slots } from "#/transfer/slots.ts";

/** Content as it is read: blocks in order, whose memory is used again, and how many bytes they are in all, where that is known. */
export interface Content {
  readonly blocks: AsyncIterable<Uint8Array>;
  readonly sizeBytes: number | undefined;
}

export interface CopyOptions extends WorkOptions {
  /** Awaited before data of unknown length is written: how much there is with it (holes not counted), and how much of that is not written yet. */
  readonly beforeBytes?: BeforeBytes | undefined;
}
export type BeforeBytes = (totalBytes: number, unwrittenBytes: number) => Promise<void>;

/**
 * Writes content into a new disk, through us and in bounded memory, zeroes left out; the disk is `sizeBytes` long in the end, or
 * as long as the content. Returns how many bytes were read that were not holes. The writer is finished or aborted. Errors: those
 * of both ends.
 */
export async function copyInto(writer: DiskWriter, content: Content, sizeBytes: number | undefined, options: CopyOptions = {}): Promise<number> {
  const { doneBytes, readBytes } = await pour(content, writer, options).catch(async (error: unknown) => {
    await writer.abort().catch(() => {}); // What it leaves is partial work, which the audit finds: the first error says more.
    throw error;
  });
  await writer.finish(sizeBytes ?? doneBytes);
  return readBytes;
}

async function pour({ blocks, sizeBytes }: Content, writer: DiskWriter, { onProgress, beforeBytes }: CopyOptions) {
  using slots = new Slots();
  const write = atOnce(writer);
  let [doneBytes, readBytes, writtenBytes] = [0, 0, 0];
  const out = new Outlet(slots, async (block, offsetBytes) => {
    await write(block, offsetBytes);
    writtenBytes += block.length;
  });
  try {
    for await (const block of blocks) {
      if (block.buffer !== ZEROES.buffer) readBytes += block.length;
      if (sizeBytes === undefined) await beforeBytes?.(readBytes, Math.max(0, readBytes - writtenBytes));
      await out.writeSparse(block);
      doneBytes += block.length;
      if (sizeBytes !== undefined) onProgress?.(doneBytes / sizeBytes);
    }
    await out.flush();
  } finally {
    await out.close();
  }
  if (sizeBytes !== undefined && doneBytes !== sizeBytes) throw new AppError("disk_not_found", `it ends at byte ${doneBytes}, not ${sizeBytes}`);
  return { doneBytes, readBytes };
}

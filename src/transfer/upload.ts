import { AppError, asAppError } from "#/domain/errors.ts";
import { formatBytes } from "#/lib/units.ts";
import { untilAborted } from "#/lib/until-aborted.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { type Hashes, Hashing } from "#/transfer/hashing.ts";
import { Inspector } from "#/transfer/inspector.ts";
import { allDone, atOnce, Outlet } from "#/transfer/outlet.ts";
import { type SharedBlock, Slots } from "#/transfer/slots.ts";

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where the sender has announced it: content of another length is refused. */
  readonly expectedSizeBytes?: number | undefined;
  readonly sizeBytesMax: number;
  /** The image's disk_format: content that is something else, or unsafe, is refused. Undefined: it is not looked at. */
  readonly diskFormat?: string | undefined;
  /** Awaited for each chunk before it is written: the content's length with it, and how much of that is not written yet. */
  readonly beforeBytes?: ((totalBytes: number, unwrittenBytes: number) => Promise<void>) | undefined;
  /** From 0 to 1, where the size was announced. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface Uploaded extends Hashes {
  readonly sizeBytes: number;
  /** What a guest sees; undefined where the content was not looked at. */
  readonly virtualSizeBytes: number | undefined;
}

/**
 * Takes a stream of any length into a new disk: inspected, hashed and written while it passes, in the memory of a few blocks.
 * The source is read no faster than the slowest of these. Ends the writer, with `finish` or, where anything fails before,
 * `abort`; a source that was not read to its end is told to `return`, and not waited for.
 *
 * Errors: `upload_broken` (the source broke off, or is not as long as announced), `too_large`, `cancelled`, the refusals
 * of format/inspect.ts; AppErrors of the source, of `beforeBytes` and of the writer as they are.
 */
export async function receiveUpload(source: AsyncIterable<Uint8Array>, writer: DiskWriter, options: UploadOptions): Promise<Uploaded> {
  const uploaded = await receive(source, writer, options).catch(async (error: unknown) => {
    await writer.abort().catch(() => {}); // What it leaves is partial work, which the audit finds: the first error says more.
    throw error;
  });
  await writer.finish(uploaded.sizeBytes);
  return uploaded;
}

async function receive(source: AsyncIterable<Uint8Array>, writer: DiskWriter, options: UploadOptions): Promise<Uploaded> {
  using slots = new Slots();
  using hashing = new Hashing();
  const failed = new AbortController();
  const written = new CountedWriter(writer);
  const use = (block: SharedBlock, offsetBytes: number) => allDone([written.write(block, offsetBytes), hashing.update(block)]);
  const out = new Outlet(slots, use, (error) => failed.abort(error));
  try {
    const inspector = options.diskFormat === undefined ? undefined : new Inspector(options.diskFormat);
    const until = options.signal ? AbortSignal.any([failed.signal, options.signal]) : failed.signal;
    const sizeBytes = await pour(untilAborted(unbroken(source), until), { out, inspector, written, options });
    const virtualSizeBytes = inspector?.finish();
    await out.flush();
    return { sizeBytes, virtualSizeBytes, ...(await hashing.digest()) };
  } catch (error) {
    throw options.signal?.aborted ? cancelled(options.signal) : error;
  } finally {
    await out.close();
  }
}

interface Way {
  readonly out: Outlet;
  readonly inspector: Inspector | undefined;
  readonly written: CountedWriter;
  readonly options: UploadOptions;
}

/** Returns the length of the content. */
async function pour(chunks: AsyncIterable<Uint8Array>, { out, inspector, written, options }: Way): Promise<number> {
  const { expectedSizeBytes, beforeBytes, onProgress } = options;
  let sizeBytes = 0;
  checkLength(expectedSizeBytes ?? 0, options);
  for await (const chunk of chunks) {
    sizeBytes += chunk.length;
    checkLength(sizeBytes, options);
    await beforeBytes?.(sizeBytes, sizeBytes - written.bytes);
    inspector?.update(chunk);
    await out.write(chunk);
    if (expectedSizeBytes) onProgress?.(sizeBytes / expectedSizeBytes);
  }
  checkComplete(sizeBytes, options);
  return sizeBytes;
}

/** The same chunks; where they break off, the error says so. */
async function* unbroken(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let sizeBytes = 0;
  try {
    for await (const chunk of source) {
      sizeBytes += chunk.length;
      yield chunk;
    }
  } catch (cause) {
    throw asAppError(cause) ?? new AppError("upload_broken", `The upload broke off after ${sizeBytes} bytes.`, { cause });
  }
}

function checkLength(sizeBytes: number, { expectedSizeBytes, sizeBytesMax }: UploadOptions): void {
  if (sizeBytes > sizeBytesMax) {
    throw new AppError("too_large", `The content is larger than the limit of ${formatBytes(sizeBytesMax)}.`);
  }
  if (expectedSizeBytes !== undefined && sizeBytes > expectedSizeBytes) {
    throw new AppError("upload_broken", `The upload has more than the ${expectedSizeBytes} bytes that were announced: ${sizeBytes} have come.`);
  }
}

function checkComplete(sizeBytes: number, { expectedSizeBytes }: UploadOptions): void {
  if (expectedSizeBytes === undefined || sizeBytes === expectedSizeBytes) return;
  throw new AppError("upload_broken", `The upload ended after ${sizeBytes} of the ${expectedSizeBytes} bytes that were announced.`);
}

function cancelled({ reason }: AbortSignal): AppError {
  return asAppError(reason) ?? new AppError("cancelled", "The upload was cancelled.", { cause: reason });
}

/** Writes as often at once as the writer allows, and knows how much is done. */
class CountedWriter {
  readonly #write: ReturnType<typeof atOnce>;
  bytes = 0;

  constructor(writer: DiskWriter) {
    this.#write = atOnce(writer);
  }

  async write(block: SharedBlock, offsetBytes: number): Promise<void> {
    await this.#write(block, offsetBytes);
    this.bytes += block.length;
  }
}

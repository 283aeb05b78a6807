import { createHash } from "node:crypto";
import { asAppError, AppError } from "#/domain/errors.ts";
import { earlyRefusal, refusal, StreamInspector } from "#/format/inspect.ts";
import { formatBytes } from "#/lib/units.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { copyInto } from "#/transfer/copy-blocks.ts";

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly expectedSizeBytes?: number | undefined;
  readonly sizeBytesMax: number;
  /** The disk_format that the content must have; undefined: it is not looked at. */
  readonly diskFormat?: string | undefined;
  /** Awaited before bytes are written, with the length of the stream so far and the new bytes in it. */
  readonly beforeBytes?: ((totalBytes: number, newBytes: number) => Promise<void>) | undefined;
  /** From 0 to 1; only where the size is known. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface Uploaded {
  readonly sizeBytes: number;
  readonly md5: string;
  readonly sha512: string;
  /** What a guest sees, from the content; undefined where it was not looked at. */
  readonly virtualSizeBytes: number | undefined;
}

/** Takes a stream of unknown content into a new disk, and ends the writer: finished, or aborted when it throws. */
export async function receiveUpload(source: AsyncIterable<Uint8Array>, writer: DiskWriter, options: UploadOptions): Promise<Uploaded> {
  const { expectedSizeBytes, sizeBytesMax, diskFormat, beforeBytes, onProgress, signal } = options;
  const md5 = createHash("md5");
  const sha512 = createHash("sha512");
  const inspector = diskFormat === undefined ? undefined : new StreamInspector();
  let sizeBytes = 0;
  let virtualSizeBytes: number | undefined;
  const content = async function* () {
    const reading = source[Symbol.asyncIterator]();
    for (;;) {
      const next = await reading.next().catch((cause: unknown) => {
        throw asAppError(cause) ?? new AppError("upload_broken", "The upload broke off.", { cause });
      });
      if (next.done) break;
      signal?.throwIfAborted();
      const chunk = next.value;
      sizeBytes += chunk.length;
      if (sizeBytes > sizeBytesMax) throw new AppError("too_large", `The content is larger than the limit of ${formatBytes(sizeBytesMax)}.`);
      if (expectedSizeBytes !== undefined && sizeBytes > expectedSizeBytes) throw wrongSize(expectedSizeBytes, sizeBytes);
      await beforeBytes?.(sizeBytes, chunk.length);
      inspector?.update(chunk);
      const refused = inspector && earlyRefusal(inspector, diskFormat as string);
      if (refused) throw refused;
      md5.update(chunk);
      sha512.update(chunk);
      yield chunk;
      if (expectedSizeBytes) onProgress?.(sizeBytes / expectedSizeBytes);
    }
    if (expectedSizeBytes !== undefined && sizeBytes < expectedSizeBytes) throw wrongSize(expectedSizeBytes, sizeBytes);
    if (inspector && diskFormat !== undefined) {
      const inspection = inspector.finish();
      const refused = refusal(inspection, diskFormat);
      if (refused) throw refused;
      virtualSizeBytes = inspection.virtualSizeBytes;
    }
  };
  await copyInto(writer, content());
  return { sizeBytes, md5: md5.digest("hex"), sha512: sha512.digest("hex"), virtualSizeBytes };
}

function wrongSize(expectedSizeBytes: number, sizeBytes: number): AppError {
  return new AppError("upload_broken", `The upload has ${sizeBytes} bytes or more, not ${expectedSizeBytes} as announced.`);
}

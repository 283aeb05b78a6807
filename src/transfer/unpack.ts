import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { formatBytes, MiB } from "#/lib/units.ts";
import { decompress } from "#/transfer/decompress.ts";
import { Inspector } from "#/transfer/inspector.ts";

export interface Unpacking {
  /** What the stream is said to hold. */
  readonly format: DiskFormat;
  /** As much as a guest may see of it: what becomes longer than a disk of that size can be is refused on the way. */
  readonly virtualSizeBytesMax: number;
}

/**
 * The disk in a compressed stream, inspected while it passes: nobody gets to read the end of one that is not what it is said to be,
 * is unsafe, or does not fit. Errors: those of `decompress()`, the refusals of format/inspect.ts, `bad_request`.
 */
export async function* unpack(stored: AsyncIterable<Uint8Array>, { format, virtualSizeBytesMax }: Unpacking): AsyncIterable<Uint8Array> {
  const inspector = new Inspector(format);
  const bytesMax = format === "raw" ? virtualSizeBytesMax : virtualSizeBytesMax + virtualSizeBytesMax / 64 + HEADERS_BYTES_MAX;
  let sizeBytes = 0;
  for await (const block of decompress(stored)) {
    sizeBytes += block.length;
    if (sizeBytes > bytesMax) throw tooLarge(virtualSizeBytesMax);
    inspector.update(block);
    yield block;
  }
  if (inspector.finish() > virtualSizeBytesMax) throw tooLarge(virtualSizeBytesMax);
}

/** Headers, logs and tables of a disk image, beside a 64th of what it shows: each format takes less, and may be badly filled. */
const HEADERS_BYTES_MAX = 64 * MiB;

function tooLarge(virtualSizeBytesMax: number): AppError {
  return new AppError("bad_request", `The compressed stream holds a disk that does not fit into ${formatBytes(virtualSizeBytesMax)}.`);
}

import { throwIfCancelled } from "#/domain/cancel.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import type { Bucket } from "#/storage/s3/bucket.ts";
import type { ObjectName } from "#/storage/s3/object-name.ts";
import { type MultipartUpload, PART_BYTES_MIN, PARTS_MAX } from "#/storage/s3/multipart.ts";

/** The service copies 5 GiB at a time at most; what takes less time shows more progress. */
const COPY_BYTES_MIN = 256 * MiB;
const COPY_BYTES_MAX = 5 * GiB;
/** Copies of one object under way at once. */
const AT_ONCE = 4;
/** Zeroes behind the source are sent in parts of this size. */
const ZEROES_BYTES = 16 * MiB;

export interface Copying extends WorkOptions {
  readonly bucket: Bucket;
  readonly source: ObjectName;
  readonly sourceBytes: number;
  /** At least as large as the source; the new end is zeroes. */
  readonly targetBytes: number;
}

/** Fills an upload with a copy of an object, by the service itself, and completes it; or gives it up, and throws why. */
export async function copyInto(upload: MultipartUpload, copying: Copying): Promise<void> {
  try {
    await copyParts(upload, copying);
    throwIfCancelled(copying.signal);
    await upload.complete();
  } catch (error) {
    await upload.abort();
    throw error;
  }
}

async function copyParts(upload: MultipartUpload, copying: Copying): Promise<void> {
  const { source, sourceBytes, targetBytes, onProgress } = copying;
  const signal = copying.signal ?? new AbortController().signal;
  const parts = plan(copying);
  let doneBytes = 0;
  onProgress?.(0);
  const one = async (part: ByteRange, number: number) => {
    throwIfCancelled(copying.signal);
    if (part.end <= sourceBytes && part.end > part.start) await upload.copy(number, source, part, signal);
    else await upload.put(number, await assembled(part, copying), signal);
    doneBytes += part.end - part.start;
    onProgress?.(targetBytes === 0 ? 1 : doneBytes / targetBytes);
  };
  for (let first = 0; first < parts.length; first += AT_ONCE) {
    await settled(parts.slice(first, first + AT_ONCE).map((part, i) => one(part, first + i + 1)));
  }
}

/**
 * The parts of the target: ranges of the source, then zeroes. Only the last part may be smaller than 5 MiB: a small end
 * of a source that grows is a part with the zeroes that follow it, and the only one whose bytes pass through us.
 */
function plan({ sourceBytes, targetBytes }: Pick<Copying, "sourceBytes" | "targetBytes">): ByteRange[] {
  const stepBytes = Math.min(COPY_BYTES_MAX, Math.max(COPY_BYTES_MIN, Math.ceil((2 * targetBytes) / PARTS_MAX)));
  const parts: ByteRange[] = [];
  let start = 0;
  while (start < sourceBytes) {
    const end = Math.min(sourceBytes, start + stepBytes);
    if (end - start < PART_BYTES_MIN && end < targetBytes) break;
    parts.push({ start, end });
    start = end;
  }
  const zeroesBytes = Math.max(ZEROES_BYTES, Math.ceil((2 * targetBytes) / PARTS_MAX));
  for (; start < targetBytes; start += zeroesBytes) parts.push({ start, end: Math.min(targetBytes, start + zeroesBytes) });
  return parts.length > 0 ? parts : [{ start: 0, end: 0 }];
}

/** What is left of the source in the range, and zeroes after it. */
async function assembled({ start, end }: ByteRange, { bucket, source, sourceBytes, signal }: Copying): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start);
  if (start >= sourceBytes) return bytes;
  let filled = 0;
  for await (const chunk of bucket.read(source, { start, end: sourceBytes }, { signal })) {
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  return bytes;
}

/** Waits for all, also where one fails: nothing may be under way when the upload is given up. */
async function settled(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

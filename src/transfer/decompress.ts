import type { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import type { Compression } from "#/domain/compression.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { KiB } from "#/lib/units.ts";
import { isZero, ZEROES } from "#/lib/zeroes.ts";
import { inBlocks } from "#/transfer/blocks.ts";

/** Of what comes out at a time. */
const CHUNK_BYTES = 256 * KiB;

/** RFC 1952, 2.3.1; RFC 8878, 3.1.1. */
const MAGIC: Readonly<Record<Compression, readonly number[]>> = { gzip: [0x1f, 0x8b], zstd: [0x28, 0xb5, 0x2f, 0xfd] };
const MAGIC_BYTES_MAX = 4;

/**
 * What a gzip or zstd stream holds, as it comes, in the memory of a few blocks, zeroes as holes; the buffers are used again.
 * Whoever reads it decides how much is too much: a stream of 1 MiB may hold 1 GiB. Errors: `image_format_mismatch` where it is neither, broken, or cut.
 */
export async function* decompress(content: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const block of inBlocks(inflated(content), { sizeBytes: ZEROES.length, buffers: 1 })) yield isZero(block) ? ZEROES.subarray(0, block.length) : block;
}

async function* inflated(content: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const chunks = content[Symbol.asyncIterator]();
  try {
    const head = await headOf(chunks);
    const stream = openStream(head);
    const fed = feed(stream, head, chunks).catch((error: unknown) => void stream.destroy(error as Error));
    try {
      yield* stream as AsyncIterable<Buffer>;
    } catch (error) {
      throw asAppError(error) ?? broken((error as Error).message, error);
    } finally {
      stream.destroy();
      await fed;
    }
  } finally {
    await chunks.return?.();
  }
}

/** Enough to know the compression by. */
async function headOf(chunks: AsyncIterator<Uint8Array>): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < MAGIC_BYTES_MAX) {
    const { done, value } = await chunks.next();
    if (done) return head;
    head = Buffer.concat([head, value]);
  }
  return head;
}

function openStream(head: Buffer): Transform {
  const starts = (compression: Compression) => head.subarray(0, MAGIC[compression].length).equals(Buffer.from(MAGIC[compression]));
  if (starts("gzip")) return createGunzip({ chunkSize: CHUNK_BYTES });
  if (starts("zstd")) return createZstdDecompress({ chunkSize: CHUNK_BYTES });
  throw broken("it is neither gzip nor zstd");
}

/** Writes a chunk when the one before is used up: their memory is used again. Ends early where the stream is destroyed. */
async function feed(stream: Transform, head: Buffer, chunks: AsyncIterator<Uint8Array>): Promise<void> {
  const closed = new Promise<false>((resolve) => stream.once("close", () => resolve(false)));
  const write = (chunk: Uint8Array) => Promise.race([closed, new Promise<true>((resolve) => stream.write(chunk, () => resolve(true)))]);
  for (let chunk: Uint8Array = head; await write(chunk); ) {
    const { done, value } = await chunks.next();
    if (done) return void stream.end();
    chunk = value;
  }
}

function broken(because: string, cause?: unknown): AppError {
  return new AppError("image_format_mismatch", `The content cannot be decompressed: ${because}.`, { cause });
}

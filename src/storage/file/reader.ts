import { type FileHandle, open } from "node:fs/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB } from "#/lib/units.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { nextData, nextHole } from "#/tools/libc.ts";
import { openReader } from "#/tools/qemu-nbd.ts";

/** A loop over a few reused buffers of this size costs 0.4 processor seconds per GiB; a stream of 64 KiB costs 1.05. */
const BUFFER_BYTES = 256 * KiB;
const BUFFERS = 4;

/** The bytes of a file, in order; holes are not read. */
export async function* readFile(path: string, range: ByteRange, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  await using file = await open(path, "r");
  checkEnd((await file.stat()).size, range);
  yield* readAhead(filePieces(file, range), (buffer, piece) => readPiece(file, buffer, piece), signal);
}

/** What a guest sees of a disk that is kept as an overlay, in order. */
export async function* readNode(node: BlockNode, range: ByteRange, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  await using disk = await openReader(node, { signal });
  checkEnd(disk.sizeBytes, range);
  const read = (buffer: Uint8Array, { start }: ByteRange) => disk.read(buffer, start);
  yield* readAhead(pieces(range, BUFFER_BYTES), read, signal);
}

interface Piece extends ByteRange {
  readonly hole?: boolean;
}
type ReadPiece = (buffer: Uint8Array, piece: Piece) => Promise<{ readonly zero: boolean }>;

/** Reads the next pieces while the reader is at one: a buffer is used again when all others have had their turn. */
async function* readAhead(wanted: AsyncIterable<Piece> | Iterable<Piece>, read: ReadPiece, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  const buffers: Uint8Array[] = Array.from({ length: BUFFERS }, () => new Uint8Array(BUFFER_BYTES));
  const ahead: Promise<Uint8Array>[] = [];
  try {
    for await (const piece of wanted) {
      throwIfCancelled(signal);
      const buffer = buffers.shift() as Uint8Array;
      buffers.push(buffer);
      ahead.push(fetch(buffer.subarray(0, piece.end - piece.start), piece, read));
      if (ahead.length === BUFFERS) yield await (ahead.shift() as Promise<Uint8Array>);
      throwIfCancelled(signal);
    }
    while (ahead.length > 0) yield await (ahead.shift() as Promise<Uint8Array>);
  } finally {
    await Promise.allSettled(ahead);
  }
}

function fetch(buffer: Uint8Array, piece: Piece, read: ReadPiece): Promise<Uint8Array> {
  const zeroes = ZEROES.subarray(0, buffer.length);
  const work = piece.hole ? Promise.resolve(zeroes) : read(buffer, piece).then(({ zero }) => (zero ? zeroes : buffer));
  work.catch(() => {}); // It may fail before its turn; whoever awaits it hears of it.
  return work;
}

async function readPiece(file: FileHandle, buffer: Uint8Array, { start }: ByteRange): Promise<{ zero: boolean }> {
  for (let done = 0; done < buffer.length; ) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, start + done);
    if (bytesRead === 0) throw new AppError("disk_not_found", `it ends at byte ${start + done}`);
    done += bytesRead;
  }
  return { zero: false };
}

function* pieces({ start, end }: ByteRange, sizeBytes: number): Iterable<ByteRange> {
  for (let offset = start; offset < end; offset += sizeBytes) yield { start: offset, end: Math.min(end, offset + sizeBytes) };
}

/** The range in pieces of one buffer, each wholly data or wholly hole. */
async function* filePieces(file: FileHandle, { start, end }: ByteRange): AsyncIterable<Piece> {
  for (let offset = start; offset < end; ) {
    const data = Math.min(end, (await nextData(file.fd, offset)) ?? end);
    for (const piece of pieces({ start: offset, end: data }, BUFFER_BYTES)) yield { ...piece, hole: true };
    const hole = data < end ? Math.min(end, await nextHole(file.fd, data)) : end;
    yield* pieces({ start: data, end: hole }, BUFFER_BYTES);
    offset = hole;
  }
}

function checkEnd(sizeBytes: number, { end }: ByteRange): void {
  if (end > sizeBytes) throw new AppError("disk_not_found", `it ends at byte ${sizeBytes}, not ${end}`);
}

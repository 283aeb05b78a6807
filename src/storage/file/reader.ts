import { type FileHandle, open } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { nextData, nextHole } from "#/tools/libc.ts";
import { checkEnd, type Piece, pieces, readAhead } from "#/storage/read-ahead.ts";

/** The bytes of a file, in order; holes are not read. */
export async function* readFile(path: string, range: ByteRange, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  await using file = await open(path, "r");
  checkEnd((await file.stat()).size, range);
  yield* readAhead(filePieces(file, range), (buffer, piece) => readPiece(file, buffer, piece), signal);
}

/** The bytes of a block device, which cannot say where its holes are; the caller knows how many it has. */
export async function* readDevice(path: string, range: ByteRange, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  await using device = await open(path, "r");
  yield* readAhead(pieces(range), (buffer, piece) => readPiece(device, buffer, piece), signal);
}

async function readPiece(file: FileHandle, buffer: Uint8Array, { start }: ByteRange): Promise<{ zero: boolean }> {
  for (let done = 0; done < buffer.length; ) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, start + done);
    if (bytesRead === 0) throw new AppError("disk_not_found", `it ends at byte ${start + done}`);
    done += bytesRead;
  }
  return { zero: false };
}

/** The range in pieces of one buffer, each wholly data or wholly hole. */
async function* filePieces(file: FileHandle, { start, end }: ByteRange): AsyncIterable<Piece> {
  for (let offset = start; offset < end; ) {
    const data = Math.min(end, (await nextData(file.fd, offset)) ?? end);
    for (const piece of pieces({ start: offset, end: data })) yield { ...piece, hole: true };
    const hole = data < end ? Math.min(end, await nextHole(file.fd, data)) : end;
    yield* pieces({ start: data, end: hole });
    offset = hole;
  }
}

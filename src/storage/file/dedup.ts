import type { FileHandle } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { KiB, MiB } from "#/lib/units.ts";
import type { DedupOptions } from "#/storage/driver.ts";
import { BlockIndex, type Fingerprint, fingerprint, PlaceSet, type SeenBlock } from "#/storage/file/block-index.ts";
import { OpenFiles, openIfThere } from "#/storage/file/open-files.ts";
import { DEDUPE_BYTES_MAX, dedupeRange, extentsOf } from "#/tools/extents.ts";

/**
 * Sharing what files hold alike. Every file is read once, but for what lies in a place that was read already (clones); each
 * block is looked up by its fingerprint, and where an alike one was seen, the file system is asked to share the two. It compares
 * them under its own locks, so that no content ever changes, whoever writes meanwhile.
 *
 * Smaller blocks find more and leave files in more pieces: 64 KiB is what qcow2 has too.
 */
const BLOCK_BYTES = 64 * KiB;
const READ_BYTES = MiB;
/** As much as is looked at before others get a turn: 16 MiB of a file. */
const PIECE_BLOCKS = 256;
/** 32 MiB of memory for 64 GiB of content that differs; in a larger pool, alike files must not lie too far apart. */
const ENTRIES = 2 ** 20;
const OPEN_FILES_MAX = 16;

export interface DedupFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
}

/** Looks at the files in the order given: alike ones should be neighbours. A file that goes meanwhile is left out. Errors are of the file system. */
export async function dedupFiles(files: readonly DedupFile[], options: DedupOptions = {}, entries = ENTRIES): Promise<void> {
  await using sources = new OpenFiles(OPEN_FILES_MAX);
  const dedup = new Dedup(files, sources, options, entries);
  for (const index of files.keys()) await dedup.share(index);
}

/** Blocks in a row that an earlier file, or an earlier part of this one, seems to have in a row too. */
interface Run {
  readonly source: SeenBlock;
  readonly target: SeenBlock;
  readonly fingerprints: Fingerprint[];
}

class Dedup {
  readonly #files: readonly DedupFile[];
  readonly #sources: OpenFiles;
  readonly #options: DedupOptions;
  readonly #index: BlockIndex;
  readonly #places: PlaceSet;
  readonly #buffer = Buffer.from(new ArrayBuffer(READ_BYTES));
  readonly #totalBytes: number;
  #seenBytes = 0;
  #run: Run | undefined;

  constructor(files: readonly DedupFile[], sources: OpenFiles, options: DedupOptions, entries: number) {
    this.#files = files;
    this.#sources = sources;
    this.#options = options;
    this.#index = new BlockIndex(entries);
    this.#places = new PlaceSet(entries);
    this.#totalBytes = files.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
  }

  /** Shares what the file has in common with those before it. */
  async share(index: number): Promise<void> {
    await using file = await openIfThere(this.#path(index));
    if (!file) return;
    for await (const piece of piecesOf(file.fd)) {
      throwIfCancelled(this.#options.signal);
      for (const { first, count } of this.#unseen(piece)) await this.#read(file, { ...piece, file: index }, first, count);
      this.#seenBytes += piece.count * BLOCK_BYTES;
      this.#options.onProgress?.(Math.min(1, this.#seenBytes / this.#totalBytes));
      await setImmediate(); // A long row of places that were all seen has no other wait in it.
    }
    await this.#endRun(file);
  }

  /** The parts of a piece whose places were not seen before: each as its first block and how many. */
  *#unseen({ block, count, physicalBytes }: Piece): Generator<{ first: number; count: number }> {
    let first: number | undefined;
    for (let index = 0; index < count; index++) {
      const isSeen = physicalBytes >= 0 && this.#places.addTo(physicalBytes + index * BLOCK_BYTES);
      if (!isSeen) first ??= index;
      else if (first !== undefined) {
        yield { first: block + first, count: index - first };
        first = undefined;
      }
    }
    if (first !== undefined) yield { first: block + first, count: count - first };
  }

  async #read(file: FileHandle, piece: Piece & { readonly file: number }, first: number, count: number): Promise<void> {
    for (let at = first; at < first + count; at += READ_BYTES / BLOCK_BYTES) {
      const length = Math.min(READ_BYTES, (first + count - at) * BLOCK_BYTES);
      throwIfCancelled(this.#options.signal);
      await this.#options.pass?.(length);
      const { bytesRead } = await file.read(this.#buffer, 0, length, at * BLOCK_BYTES);
      for (let start = 0; start + BLOCK_BYTES <= bytesRead; start += BLOCK_BYTES) {
        const block = at + start / BLOCK_BYTES;
        const physicalBytes = piece.physicalBytes < 0 ? -1 : piece.physicalBytes + (block - piece.block) * BLOCK_BYTES;
        await this.#look(file, { file: piece.file, block, physicalBytes }, fingerprint(this.#buffer.subarray(start, start + BLOCK_BYTES)));
      }
      this.#options.onDone?.({ bytesRead, bytesShared: 0 });
    }
  }

  /** Lengthens the run by the block, or ends it and begins another. */
  async #look(file: FileHandle, target: SeenBlock, found: Fingerprint): Promise<void> {
    const source = this.#index.findOrAdd(found, target);
    if (!source || isSamePlace(source, target)) return this.#endRun(file);
    if (!this.#run || !follows(this.#run, source, target)) {
      await this.#endRun(file);
      this.#run = { source, target, fingerprints: [] };
    }
    this.#run.fingerprints.push(found);
    if (this.#run.fingerprints.length * BLOCK_BYTES >= DEDUPE_BYTES_MAX) await this.#endRun(file);
  }

  async #endRun(file: FileHandle): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    if (!run) return;
    const source = await this.#sources.get(this.#path(run.source.file));
    if (source) await this.#shareRange(source.fd, file.fd, run);
    else this.#forget(run);
  }

  /** Where the two are not alike after all, their halves may be. */
  async #shareRange(sourceFd: number, targetFd: number, run: Run): Promise<void> {
    const count = run.fingerprints.length;
    throwIfCancelled(this.#options.signal);
    const source = { fd: sourceFd, offset: run.source.block * BLOCK_BYTES };
    const target = { fd: targetFd, offset: run.target.block * BLOCK_BYTES };
    const shared = await tryDedupe(source, target, count * BLOCK_BYTES);
    if (shared === "differs") {
      if (count === 1) return this.#forget(run);
      const half = count >> 1;
      await this.#shareRange(sourceFd, targetFd, part(run, 0, half));
      return this.#shareRange(sourceFd, targetFd, part(run, half, count));
    }
    this.#options.onDone?.({ bytesRead: 0, bytesShared: shared });
    const sharedBlocks = Math.floor(shared / BLOCK_BYTES);
    if (sharedBlocks > 0 && sharedBlocks < count) await this.#shareRange(sourceFd, targetFd, part(run, sharedBlocks, count));
  }

  /** The source has changed or is gone: from now on the target stands for that content. */
  #forget({ target, fingerprints }: Run): void {
    for (const [index, found] of fingerprints.entries()) this.#index.replace(found, { ...target, block: target.block + index, physicalBytes: -1 });
  }

  #path(index: number): string {
    return this.#files[index]?.path ?? "";
  }
}

/** Blocks of a file that follow one another, in the file and on the file system. */
interface Piece {
  readonly block: number;
  readonly count: number;
  /** Where the first of them is; −1 where it has no one place. */
  readonly physicalBytes: number;
}

/** All whole blocks of a file that hold data, in order. */
async function* piecesOf(fd: number): AsyncGenerator<Piece> {
  let [dataStart, dataEnd, next] = [0, 0, 0];
  for await (const { logicalBytes, lengthBytes, physicalBytes, isUnwritten } of extentsOf(fd)) {
    if (isUnwritten) continue;
    if (logicalBytes !== dataEnd) dataStart = logicalBytes;
    dataEnd = logicalBytes + lengthBytes;
    next = Math.max(next, Math.ceil(dataStart / BLOCK_BYTES));
    const end = Math.floor(dataEnd / BLOCK_BYTES);
    // The first block may lie in the extent before too.
    const inside = Math.min(Math.max(next, Math.ceil(logicalBytes / BLOCK_BYTES)), end);
    if (inside > next) yield { block: next, count: inside - next, physicalBytes: -1 };
    for (let block = inside; block < end; block += PIECE_BLOCKS) {
      const place = physicalBytes === undefined ? -1 : physicalBytes + block * BLOCK_BYTES - logicalBytes;
      yield { block, count: Math.min(PIECE_BLOCKS, end - block), physicalBytes: place };
    }
    next = Math.max(next, end);
  }
}

function isSamePlace(source: SeenBlock, target: SeenBlock): boolean {
  if (source.file === target.file && source.block === target.block) return true;
  return source.physicalBytes >= 0 && source.physicalBytes === target.physicalBytes;
}

function follows({ source, target, fingerprints }: Run, nextSource: SeenBlock, nextTarget: SeenBlock): boolean {
  const count = fingerprints.length;
  return nextSource.file === source.file && nextSource.block === source.block + count && nextTarget.block === target.block + count;
}

function part({ source, target, fingerprints }: Run, start: number, end: number): Run {
  const at = (seen: SeenBlock): SeenBlock => ({ ...seen, block: seen.block + start, physicalBytes: -1 });
  return { source: at(source), target: at(target), fingerprints: fingerprints.slice(start, end) };
}

/** What concerns these two files alone (one is being swapped on, say, or not ours) is no reason to end. */
const SKIPPED: readonly (string | undefined)[] = ["EINVAL", "EPERM", "EACCES", "ETXTBSY", "EBUSY", "EAGAIN", "EINTR"];

async function tryDedupe(source: { fd: number; offset: number }, target: { fd: number; offset: number }, lengthBytes: number): Promise<number | "differs"> {
  try {
    return await dedupeRange(source, target, lengthBytes);
  } catch (error) {
    if (SKIPPED.includes((error as NodeJS.ErrnoException).code)) return 0;
    throw error;
  }
}

/**
 * How a parser sees the stream: as a generator that asks for bytes by their place and gets them when they have gone
 * by. The parser reads like one that has the whole file, keeps nothing but what it asked for, and knows nothing of
 * chunks. A reading goes forward: behind the head (the first 64 KiB, which stay) it can only ask for what comes.
 */

/** The first bytes of the stream that stay readable to the end: enough for all headers and ISO 9660's descriptors. */
export const HEAD_BYTES = 64 * 1024;

/** The last bytes of the stream that are kept: the footer, header copy and end marker of a streamOptimized VMDK. */
export const TAIL_BYTES = 1536;

/** The most that one wish may ask for: it bounds the memory of a reading, whatever the headers say. */
export const WISH_MAX_BYTES = 64 * 1024;

export type Wish = { readonly offset: number; readonly length: number } | "end";

/** The end of the stream: its size, and its last bytes (all of them, if there are fewer than TAIL_BYTES). */
export interface End {
  readonly sizeBytes: number;
  readonly tail: Uint8Array;
}

export type Reading<Result = void> = Generator<Wish, Result, Uint8Array | End | undefined>;

/** Bytes of the stream; fewer where it ends before; undefined where they went by before they were asked for. */
export function* read(offset: number, length: number): Reading<Uint8Array | undefined> {
  return (yield { offset, length }) as Uint8Array | undefined;
}

/** Bytes of the head; fewer where the stream ends before. */
export function* readHead(offset: number, length: number): Reading<Uint8Array> {
  return (yield* read(offset, length)) as Uint8Array;
}

/** Waits for the end of the stream. */
export function* readEnd(): Reading<End> {
  return (yield "end") as End;
}

/**
 * The most of a table that is looked through, so that hostile tables cost a few ms of CPU time and not seconds. It is
 * the whole L1 table of a qcow2 disk of 64 TiB, and the map of 512 GiB of a VHD or 256 GiB of a VDI.
 */
const TABLE_LOOK_MAX_BYTES = 1024 * 1024;

/**
 * Shows the start of a table to `visit`, slice by slice; entries are whole but for the last of a file cut off. Tables
 * are looked through to find files that were cut off, not to find danger: what lies behind the limit, or went by
 * already, is left to the tool that reads the image.
 */
export function* readTable(offset: number, lengthBytes: number, visit: (slice: Uint8Array) => void): Reading {
  const endBytes = Math.min(lengthBytes, TABLE_LOOK_MAX_BYTES);
  for (let at = 0; at < endBytes; at += WISH_MAX_BYTES) {
    const wanted = Math.min(WISH_MAX_BYTES, endBytes - at);
    const slice = yield* read(offset + at, wanted);
    if (slice === undefined) return;
    visit(slice);
    if (slice.length < wanted) return;
  }
}

import { ioctl, systemError } from "#/tools/libc.ts";

/**
 * Where a file's bytes are on its file system, and making two files share them: FS_IOC_FIEMAP (linux/fiemap.h) and FIDEDUPERANGE
 * (linux/fs.h, ioctl_fideduperange(2)). Both structures are little-endian here: x64 and arm64 are.
 */
export interface Extent {
  readonly logicalBytes: number;
  /** Undefined where the bytes have no place of their own: compressed, inline, or not yet written out. */
  readonly physicalBytes: number | undefined;
  readonly lengthBytes: number;
  /** Another file, or another part of this one, has the same place. */
  readonly isShared: boolean;
  /** Space that was promised and never written: it reads as zeroes. */
  readonly isUnwritten: boolean;
}

const FS_IOC_FIEMAP = 0xc020660b;
const [HEADER_BYTES, EXTENT_BYTES, EXTENTS_MAX] = [32, 56, 512] as const;
/** Writes out first what is only in memory: else its place is not known yet. */
const FLAG_SYNC = 1;
const [LAST, UNKNOWN, DELALLOC, ENCODED, INLINE, TAIL, UNWRITTEN, SHARED] = [0x1, 0x2, 0x4, 0x8, 0x200, 0x400, 0x800, 0x2000] as const;
const WITHOUT_PLACE = UNKNOWN | DELALLOC | ENCODED | INLINE | TAIL;

/** The extents of an open file in order, from the one at `startBytes` on, holes left out. Errors are of the file system. */
export async function* extentsOf(fd: number, startBytes = 0): AsyncGenerator<Extent> {
  const request = Buffer.from(new ArrayBuffer(HEADER_BYTES + EXTENTS_MAX * EXTENT_BYTES));
  for (let start = startBytes; ; ) {
    request.fill(0, 0, HEADER_BYTES);
    request.writeBigUInt64LE(BigInt(start), 0);
    request.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 8);
    request.writeUInt32LE(FLAG_SYNC, 16);
    request.writeUInt32LE(EXTENTS_MAX, 24);
    await ioctl(fd, FS_IOC_FIEMAP, request);
    const count = request.readUInt32LE(20);
    if (count === 0) return;
    // Read them all first: the buffer is the next request's.
    const found = Array.from({ length: count }, (_, index) => extentAt(request, HEADER_BYTES + index * EXTENT_BYTES));
    yield* found;
    const last = found.at(-1);
    if (!last || last.isLast) return;
    start = last.logicalBytes + last.lengthBytes;
  }
}

function extentAt(request: Buffer, at: number): Extent & { readonly isLast: boolean } {
  const flags = request.readUInt32LE(at + 40);
  return {
    logicalBytes: Number(request.readBigUInt64LE(at)),
    physicalBytes: (flags & WITHOUT_PLACE) === 0 ? Number(request.readBigUInt64LE(at + 8)) : undefined,
    lengthBytes: Number(request.readBigUInt64LE(at + 16)),
    isShared: (flags & SHARED) !== 0,
    isUnwritten: (flags & UNWRITTEN) !== 0,
    isLast: (flags & LAST) !== 0,
  };
}

const FIDEDUPERANGE = 0xc0189436;
const DEDUPE_BYTES = 24 + 32;

/** More at once is cut off by some file systems, and holds their locks for long. */
export const DEDUPE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Has the file system share a range of `source` with one of `target`, if they hold the same: it compares them itself, under its
 * locks. Returns how many bytes were shared, from the start of the range, or `differs`. Offsets and length are of whole blocks.
 */
export async function dedupeRange(
  source: { readonly fd: number; readonly offset: number },
  target: { readonly fd: number; readonly offset: number },
  lengthBytes: number,
): Promise<number | "differs"> {
  const request = Buffer.from(new ArrayBuffer(DEDUPE_BYTES));
  request.writeBigUInt64LE(BigInt(source.offset), 0);
  request.writeBigUInt64LE(BigInt(lengthBytes), 8);
  request.writeUInt16LE(1, 16); // One target.
  request.writeBigInt64LE(BigInt(target.fd), 24);
  request.writeBigUInt64LE(BigInt(target.offset), 32);
  await ioctl(source.fd, FIDEDUPERANGE, request);
  const status = request.readInt32LE(48);
  if (status === 1) return "differs";
  if (status < 0) throw systemError(-status, "FIDEDUPERANGE");
  return Number(request.readBigUInt64LE(40));
}

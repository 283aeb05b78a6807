import { open } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { parseFileName } from "#/storage/file/names.ts";

export interface OverlayHeader {
  readonly parent: DiskId;
  readonly virtualSizeBytes: number;
}

const MAGIC = 0x5146_49fb; // "QFI\xfb"
/** Headers that we had made are this short: the backing file's name follows the header's fixed part. */
const HEADER_BYTES_MAX = 4096;

/**
 * Reads whose disk an overlay stands on, and how large it is: the fixed fields of a qcow2 header (QEMU docs/interop/qcow2.txt).
 * A guest can't write to them. Only the id in the backing file's name counts, never its path.
 */
export async function readOverlayHeader(path: string): Promise<OverlayHeader> {
  await using file = await open(path, "r");
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES_MAX), 0, HEADER_BYTES_MAX, 0);
  const header = parseOverlayHeader(buffer.subarray(0, bytesRead));
  if (!header) throw new AppError("disk_not_found", `${path} is no overlay on a disk of this pool`);
  return header;
}

export function parseOverlayHeader(header: Buffer): OverlayHeader | undefined {
  if (header.length < 72 || header.readUInt32BE(0) !== MAGIC) return undefined;
  const [nameOffset, nameLength] = [Number(header.readBigUInt64BE(8)), header.readUInt32BE(16)];
  if (nameOffset + nameLength > header.length) return undefined;
  const named = parseFileName(header.toString("latin1", nameOffset, nameOffset + nameLength));
  if (!named || named.suffix === "partial") return undefined;
  return { parent: named.id, virtualSizeBytes: Number(header.readBigUInt64BE(24)) };
}

import { crc32 } from "./crc32.ts";
import { holds, littleEndian } from "./bytes.ts";

/**
 * Partition tables of a raw disk: the classic boot record (MBR) and GPT (UEFI 2.10 §5).
 *
 * A boot sector with 0x55AA is not yet a partition table: FAT and NTFS begin with one, and so do Linux kernels. It
 * is one if all four entries can be: the flag is 0x00 or 0x80, and at least one has a type, a start and a length.
 */
export type Partitions = "none" | "mbr" | "protective";

const ENTRIES_OFFSET = 446;
const ENTRY_BYTES = 16;
const TYPE_GPT = 0xee;
const GPT_SECTOR_BYTES = [512, 4096];

/** What the first sector of a disk says; "none" for fewer than 512 bytes. */
export function partitionsOf(sector: Uint8Array): Partitions {
  if (!holds(sector, 510, "\x55\xaa")) return "none";
  const entries = [0, 1, 2, 3].map((index) => entryOf(sector, ENTRIES_OFFSET + index * ENTRY_BYTES));
  if (!entries.every((entry) => entry.flag === 0x00 || entry.flag === 0x80)) return "none";
  const used = entries.filter((entry) => entry.type !== 0 && entry.startSector > 0 && entry.sectors > 0);
  if (used.length === 0) return "none";
  return used.some((entry) => entry.type === TYPE_GPT) ? "protective" : "mbr";
}

function entryOf(sector: Uint8Array, offset: number) {
  const entry = littleEndian(sector);
  return { flag: entry.u8(offset), type: entry.u8(offset + 4), startSector: entry.u32(offset + 8), sectors: entry.u32(offset + 12) };
}

/** Whether the head of a disk has a whole GPT header, with 512- or 4096-byte sectors. */
export function hasGptHeader(head: Uint8Array): boolean {
  return GPT_SECTOR_BYTES.some((offset) => isGptHeader(head.subarray(offset, offset + 512)));
}

function isGptHeader(sector: Uint8Array): boolean {
  if (sector.length < 512 || !holds(sector, 0, "EFI PART")) return false;
  const header = littleEndian(sector);
  const lengthBytes = header.u32(12);
  if (lengthBytes < 92 || lengthBytes > 512) return false;
  const summed = sector.slice(0, lengthBytes);
  summed.fill(0, 16, 20);
  return crc32(summed) === header.u32(16);
}

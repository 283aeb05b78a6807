import { KiB, MiB } from "#/lib/units.ts";
import { holds, isZero, latin1, littleEndian, padded } from "./bytes.ts";
import { crc32c } from "./crc32.ts";
import { read, readEnd, readHead, readTable, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";
import { guidAt, readMetadata } from "./vhdx-metadata.ts";

/**
 * VHDX (Microsoft [MS-VHDX] 2.x; limits as in QEMU's block/vhdx.c). The file begins with an identifier, two headers
 * and two copies of the region table, 64 KiB each; the table places metadata and block table anywhere from 1 MiB on.
 *
 * An image whose log is in use is refused: replaying it writes to the places that the log names.
 */
export function* readVhdx(report: Report): Reading {
  const sector = yield* readHead(0, 512);
  if (!holds(sector, 0, "vhdxfile")) return;
  if (!report.match(sector) || !(yield* readHeaders(report))) return;
  const regions = yield* readRegions(report);
  if (!regions) return;

  const found = { blockBytes: 0, tableEntries: 0, lastBlockOffset: 0 };
  for (const region of [regions.metadata, regions.blockTable].sort((a, b) => a.offset - b.offset)) {
    if (region === regions.metadata) Object.assign(found, yield* readMetadata(report, region));
    else found.lastBlockOffset = yield* readBlockTable(report, region);
  }
  const { sizeBytes } = yield* readEnd();
  report.expect(found.tableEntries * 8 <= regions.blockTable.lengthBytes, "bad_field", `The block table of the VHDX is too small for the disk: ${REMAKE}`);
  report.expectInside("last region", regions.endBytes, sizeBytes);
  report.expectInside("last block", found.lastBlockOffset === 0 ? 0 : found.lastBlockOffset + found.blockBytes, sizeBytes);
}

export interface Region { readonly id: string; readonly offset: number; readonly lengthBytes: number; readonly required: boolean }
interface Regions { readonly metadata: Region; readonly blockTable: Region; readonly endBytes: number }

const HEADER_OFFSETS = [64 * KiB, 128 * KiB];
const HEADER_BYTES = 4 * KiB;
const REGION_TABLE_OFFSETS = [192 * KiB, 256 * KiB];
const REGION_TABLE_BYTES = 64 * KiB;
const REGIONS_MAX = 2047;
const BLOCK_TABLE = "2dc27766-f623-4200-9d64-115e9bfd4a08";
const METADATA = "8b7ca206-4790-4b9a-b8fe-575f050f886e";
const BLOCK = { fullyPresent: 6, partlyPresent: 7 };
const REMAKE = 'make it again with "qemu-img convert -O vhdx", or with Convert-VHD.';

/** Of the two headers, the valid one with the higher sequence number rules. */
function* readHeaders(report: Report): Reading<boolean> {
  const valid: { sequence: number; version: number; logged: boolean }[] = [];
  for (const offset of HEADER_OFFSETS) {
    const bytes = padded((yield* read(offset, HEADER_BYTES)) ?? new Uint8Array(), HEADER_BYTES);
    const { u16, u64 } = littleEndian(bytes);
    if (holds(bytes, 0, "head") && checksumFits(bytes)) valid.push({ sequence: u64(8), version: u16(66), logged: !isZero(bytes.subarray(48, 64)) });
  }
  const [header] = valid.sort((a, b) => b.sequence - a.sequence);
  if (!report.expect(header !== undefined, "corrupt", "The VHDX has no header with a right checksum: upload the whole file again.")) return false;
  report.expect(valid.every(({ logged }) => !logged), "unclean", 'The VHDX was not closed, and has a log to be replayed: run "qemu-img check -r all" or attach it once in Windows, then upload it again.');
  return report.expect(header?.version === 1, "unsupported_kind", `The VHDX has version ${header?.version}, and 1 is taken: ${REMAKE}`);
}

/** CRC-32C over the structure with its checksum (bytes 4 to 7) as zeroes. */
function checksumFits(bytes: Uint8Array): boolean {
  const summed = bytes.slice();
  summed.fill(0, 4, 8);
  return crc32c(summed) === littleEndian(bytes).u32(4);
}

/** Reads the region table. Its copy must be the same: tools differ in which of the two they believe. */
function* readRegions(report: Report): Reading<Regions | undefined> {
  const [bytes, copy] = [new Uint8Array(REGION_TABLE_BYTES), new Uint8Array(REGION_TABLE_BYTES)];
  bytes.set((yield* read(REGION_TABLE_OFFSETS[0] as number, REGION_TABLE_BYTES)) ?? []);
  copy.set((yield* read(REGION_TABLE_OFFSETS[1] as number, REGION_TABLE_BYTES)) ?? []);

  const count = littleEndian(bytes).u32(8);
  const fine = report.expect(holds(bytes, 0, "regi") && checksumFits(bytes), "corrupt", "The region table of the VHDX is damaged: upload the whole file again.")
    && report.expect(latin1(bytes) === latin1(copy), "bad_field", `The two region tables of the VHDX contradict each other: ${REMAKE}`)
    && report.expect(count <= REGIONS_MAX, "bad_field", `The VHDX claims ${count} regions: ${REMAKE}`);
  return fine ? checkRegions(report, Array.from({ length: count }, (_, index) => regionAt(bytes, 16 + index * 32))) : undefined;
}

function regionAt(bytes: Uint8Array, at: number): Region {
  const { u32, u64 } = littleEndian(bytes);
  return { id: guidAt(bytes, at), offset: u64(at + 16), lengthBytes: u32(at + 24), required: (u32(at + 28) & 1) !== 0 };
}

function checkRegions(report: Report, regions: readonly Region[]): Regions | undefined {
  const [metadata, ...moreMetadata] = regions.filter(({ id }) => id === METADATA);
  const [blockTable, ...moreTables] = regions.filter(({ id }) => id === BLOCK_TABLE);
  const unknown = regions.filter(({ id, required }) => required && id !== METADATA && id !== BLOCK_TABLE);
  const inOrder = regions.toSorted((a, b) => a.offset - b.offset);
  const placed = inOrder.every((region, index) => {
    const end = index === 0 ? MiB : (inOrder[index - 1] as Region).offset + (inOrder[index - 1] as Region).lengthBytes;
    return region.offset % MiB === 0 && region.lengthBytes % MiB === 0 && region.lengthBytes > 0 && region.offset >= end;
  });
  report.expect(unknown.length === 0, "unknown_feature", `The VHDX needs a region that is not known here: ${REMAKE}`);
  report.expect(placed, "bad_field", `The regions of the VHDX overlap or are not aligned: ${REMAKE}`);
  const complete = report.expect(metadata !== undefined && blockTable !== undefined && moreMetadata.length + moreTables.length === 0, "bad_field",
    `The VHDX must have its metadata and its block table once each: ${REMAKE}`);
  if (!complete || !placed || !metadata || !blockTable) return undefined;
  const last = inOrder.at(-1) as Region;
  return { metadata, blockTable, endBytes: last.offset + last.lengthBytes };
}

/** Looks through the block allocation table; answers where the last block begins. */
function* readBlockTable(report: Report, { offset, lengthBytes }: Region): Reading<number> {
  let last = 0;
  let whole = true;
  yield* readTable(offset, lengthBytes, (slice) => {
    const { u32 } = littleEndian(slice);
    for (let at = 0; at + 8 <= slice.length; at += 8) {
      const low = u32(at);
      const state = low & 7;
      if (state === BLOCK.partlyPresent) whole = false;
      if (state === BLOCK.fullyPresent) last = Math.max(last, u32(at + 4) * 2 ** 32 + (low - (low % MiB)));
    }
  });
  report.expect(whole, "parent", "The VHDX has blocks whose other half is in a parent disk: merge it with its parent (Merge-VHD), then upload the result.");
  return last;
}

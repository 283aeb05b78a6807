import { KiB, MiB } from "#/lib/units.ts";
import { hex, holds, isZero, latin1, littleEndian, padded, words } from "./bytes.ts";
import { crc32c } from "./crc32.ts";
import { read, readEnd, readHead, readTable, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";
import { guidAt, readMetadata, type Region } from "./vhdx-metadata.ts";

/**
 * VHDX (Microsoft [MS-VHDX] 2.x; limits as in QEMU's block/vhdx.c). The file begins with an identifier, two headers
 * and two copies of the region table, 64 KiB each; the table places metadata and block table anywhere from 1 MiB on.
 *
 * An image whose log is in use is refused: replaying it writes to the places that the log names.
 */
export function* readVhdx(report: Report): Reading {
  const sector = yield* readHead(0, 512);
  if (!holds(sector, 0, "vhdxfile")) return;
  if (!report.match(sector)) return;
  const log = yield* readHeaders(report);
  const regions = log && (yield* readRegions(report, log));
  if (!regions) return;

  const found = { blockBytes: 0, tableEntries: 0, lastBlockOffset: 0 };
  for (const region of [regions.metadata, regions.blockTable].sort((a, b) => a.offset - b.offset)) {
    if (region === regions.metadata) Object.assign(found, yield* readMetadata(report, region));
    else found.lastBlockOffset = yield* readBlockTable(report, region);
  }
  const { sizeBytes } = yield* readEnd();
  report.expect(
    found.tableEntries * 8 <= regions.blockTable.lengthBytes,
    "bad_field",
    `The block table of the VHDX is too small for the disk: ${REMAKE}`,
  );
  report.expectInside("last region", regions.endBytes, sizeBytes);
  report.expectInside("last block", found.lastBlockOffset === 0 ? 0 : found.lastBlockOffset + found.blockBytes, sizeBytes);
}

interface Regions {
  readonly metadata: Region;
  readonly blockTable: Region;
  readonly endBytes: number;
}

const HEADER_OFFSETS = [64 * KiB, 128 * KiB];
const HEADER_BYTES = 4 * KiB;
const REGION_TABLE_OFFSETS = [192 * KiB, 256 * KiB];
const REGION_TABLE_BYTES = 64 * KiB;
const REGIONS_MAX = 2047;
const BLOCK_TABLE = "2dc27766-f623-4200-9d64-115e9bfd4a08";
const METADATA = "8b7ca206-4790-4b9a-b8fe-575f050f886e";
const BLOCK = { fullyPresent: 6, partlyPresent: 7 };
const REMAKE = 'make it again with "qemu-img convert -O vhdx", or with Convert-VHD.';

type Place = Pick<Region, "offset" | "lengthBytes">;

/** Of the two headers, the valid one with the higher sequence number rules. Answers where it has its log. */
function* readHeaders(report: Report): Reading<Place | undefined> {
  const valid: ReturnType<typeof parseHeader>[] = [];
  for (const offset of HEADER_OFFSETS) {
    const bytes = padded((yield* read(offset, HEADER_BYTES)) ?? new Uint8Array(), HEADER_BYTES);
    if (holds(bytes, 0, "head") && checksumFits(bytes)) valid.push(parseHeader(bytes));
  }
  const [header, other] = valid.sort((a, b) => b.sequence - a.sequence);
  report.expect(header !== undefined, "corrupt", "The VHDX has no header with a right checksum: upload the whole file again.");
  return header && checkHeaders(report, header, other) ? header.log : undefined;
}

function parseHeader(bytes: Uint8Array) {
  const { u16, u32, u64 } = littleEndian(bytes);
  return {
    sequence: u64(8),
    version: u16(66),
    logVersion: u16(64),
    logInUse: !isZero(bytes.subarray(48, 64)),
    log: { offset: u64(72), lengthBytes: u32(68) },
    content: hex(bytes.subarray(0, 80)),
  };
}

type Header = ReturnType<typeof parseHeader>;

function checkHeaders(report: Report, header: Header, other: Header | undefined): boolean {
  // Disk2VHD writes the same header twice; two that differ under one number have no order.
  report.expect(
    header.sequence !== other?.sequence || header.content === other.content,
    "bad_field",
    `The two headers of the VHDX contradict each other: ${REMAKE}`,
  );
  report.expect(
    !header.logInUse && !other?.logInUse,
    "unclean",
    'The VHDX was not closed, and has a log to be replayed: run "qemu-img check -r all" or attach it once in Windows, then upload it again.',
  );
  return report.expect(
    header.version === 1 && header.logVersion === 0,
    "unsupported_kind",
    `The VHDX has version ${header.version} and a log of version ${header.logVersion}, and 1 and 0 are taken: ${REMAKE}`,
  );
}

/** CRC-32C over the structure with its checksum (bytes 4 to 7) as zeroes. */
function checksumFits(bytes: Uint8Array): boolean {
  const summed = bytes.slice();
  summed.fill(0, 4, 8);
  return crc32c(summed) === littleEndian(bytes).u32(4);
}

/** Reads the region table. Its copy must be the same: tools differ in which of the two they believe. */
function* readRegions(report: Report, log: Place): Reading<Regions | undefined> {
  const [bytes, copy] = [new Uint8Array(REGION_TABLE_BYTES), new Uint8Array(REGION_TABLE_BYTES)];
  bytes.set((yield* read(REGION_TABLE_OFFSETS[0] as number, REGION_TABLE_BYTES)) ?? []);
  copy.set((yield* read(REGION_TABLE_OFFSETS[1] as number, REGION_TABLE_BYTES)) ?? []);

  const count = littleEndian(bytes).u32(8);
  const fine =
    report.expect(
      holds(bytes, 0, "regi") && checksumFits(bytes),
      "corrupt",
      "The region table of the VHDX is damaged: upload the whole file again.",
    ) &&
    report.expect(latin1(bytes) === latin1(copy), "bad_field", `The two region tables of the VHDX contradict each other: ${REMAKE}`) &&
    report.expect(count <= REGIONS_MAX, "bad_field", `The VHDX claims ${count} regions: ${REMAKE}`);
  return fine
    ? checkRegions(
        report,
        log,
        Array.from({ length: count }, (_, index) => regionAt(bytes, 16 + index * 32)),
      )
    : undefined;
}

function regionAt(bytes: Uint8Array, at: number): Region {
  const { u32, u64 } = littleEndian(bytes);
  return { id: guidAt(bytes, at), offset: u64(at + 16), lengthBytes: u32(at + 24), required: (u32(at + 28) & 1) !== 0 };
}

function checkRegions(report: Report, log: Place, regions: readonly Region[]): Regions | undefined {
  const [metadata, ...moreMetadata] = regions.filter(({ id }) => id === METADATA);
  const [blockTable, ...moreTables] = regions.filter(({ id }) => id === BLOCK_TABLE);
  const unknown = regions.filter(({ id, required }) => required && id !== METADATA && id !== BLOCK_TABLE);
  const placed = areApart([log, ...regions]) && regions.every(({ lengthBytes }) => lengthBytes > 0);
  report.expect(unknown.length === 0, "unknown_feature", `The VHDX needs a region that is not known here: ${REMAKE}`);
  report.expect(placed, "bad_field", `The log and the regions of the VHDX overlap or are not aligned: ${REMAKE}`);
  const complete = report.expect(
    metadata !== undefined && blockTable !== undefined && moreMetadata.length + moreTables.length === 0,
    "bad_field",
    `The VHDX must have its metadata and its block table once each: ${REMAKE}`,
  );
  if (!complete || !placed || !metadata || !blockTable) return undefined;
  return { metadata, blockTable, endBytes: Math.max(...regions.map(({ offset, lengthBytes }) => offset + lengthBytes)) };
}

/** Whether all lie behind the headers, at whole MiB, and none upon another. */
function areApart(places: readonly Place[]): boolean {
  let endBytes = MiB;
  return places
    .toSorted((a, b) => a.offset - b.offset)
    .every(({ offset, lengthBytes }) => {
      const apart = offset >= endBytes && offset % MiB === 0 && lengthBytes % MiB === 0;
      endBytes = offset + lengthBytes;
      return apart;
    });
}

/** Looks through the block allocation table; answers where the last block begins. */
function* readBlockTable(report: Report, { offset, lengthBytes }: Region): Reading<number> {
  let last = 0;
  let whole = true;
  yield* readTable(offset, lengthBytes, (slice) => {
    const entries = words(slice, "little");
    for (let at = 0; at + 1 < entries.length; at += 2) {
      const low = entries[at] as number;
      const state = low & 7;
      if (state === BLOCK.partlyPresent) whole = false;
      if (state !== BLOCK.fullyPresent) continue;
      const offset = (entries[at + 1] as number) * 2 ** 32 + (low - (low % MiB));
      if (offset > last) last = offset;
    }
  });
  report.expect(
    whole,
    "parent",
    "The VHDX has blocks whose other half is in a parent disk: merge it with its parent (Merge-VHD), then upload the result.",
  );
  return last;
}

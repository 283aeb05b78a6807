import { KiB, MiB } from "#/lib/units.ts";
import { hex, holds, isPowerOfTwo, littleEndian, padded } from "./bytes.ts";
import { read, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/** A part of the file that the region table names ([MS-VHDX] §2.2.3). */
export interface Region {
  readonly id: string;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly required: boolean;
}

/**
 * The metadata region of a VHDX ([MS-VHDX] §2.6): a table of items, and from 64 KiB on the items themselves. Answers
 * the size of a block and the entries that the block table must have; nothing where it cannot be understood.
 */
export function* readMetadata(report: Report, region: Region): Reading<{ blockBytes: number; tableEntries: number } | undefined> {
  const table = (yield* read(region.offset, TABLE_BYTES)) ?? new Uint8Array();
  if (
    !report.expect(
      table.length === TABLE_BYTES,
      "truncated",
      `The metadata table of the VHDX, at byte ${region.offset}, is not in the file: upload the whole file.`,
    )
  )
    return undefined;
  const items = checkTable(report, region, table);
  if (!items) return undefined;

  const values = new Map<string, Uint8Array>();
  for (const item of items.toSorted((a, b) => a.offset - b.offset)) {
    values.set(item.id, padded((yield* read(region.offset + item.offset, ITEM_READ_BYTES)) ?? new Uint8Array(), ITEM_READ_BYTES));
  }
  const item = (id: string) => littleEndian(values.get(id) as Uint8Array);
  const parameters = item(ITEM.fileParameters);
  return checkValues(report, {
    blockBytes: parameters.u32(0),
    flags: parameters.u32(4),
    sizeBytes: item(ITEM.diskSize).u64(0),
    sectorBytes: item(ITEM.logicalSector).u32(0),
  });
}

const TABLE_BYTES = 64 * KiB;
const ITEMS_MAX = 2047;
/** The three items that are read have 4 or 8 bytes. */
const ITEM_READ_BYTES = 8;
const ITEM = {
  fileParameters: "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
  diskSize: "2fa54224-cd1b-4876-b211-5dbed83bf4b8",
  logicalSector: "8141bf1d-a96f-4709-ba47-f233a8faab5f",
  physicalSector: "cda348c7-445d-4471-9cc9-e9885251c556",
  page83: "beca12ab-b2e6-4523-93ef-c309e000c746",
  parentLocator: "a8d35f2d-b30b-454d-abf7-d3d84834ab0c",
};
const READ: readonly string[] = [ITEM.fileParameters, ITEM.diskSize, ITEM.logicalSector];
const KNOWN: readonly string[] = Object.values(ITEM);
const FLAG_REQUIRED = 1 << 2;
const FLAG_HAS_PARENT = 1 << 1;
const SECTORS_PER_CHUNK = 2 ** 23;
const MERGE = "merge it with its parent (Merge-VHD, or Convert-VHD), then upload the result.";
const REMAKE = 'make it again with "qemu-img convert -O vhdx", or with Convert-VHD.';

interface Item {
  readonly id: string;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly required: boolean;
}

/** The items that must be read, once the table has proved sane. */
function checkTable(report: Report, region: Region, table: Uint8Array): readonly Item[] | undefined {
  const count = littleEndian(table).u16(10);
  if (
    !report.expect(
      holds(table, 0, "metadata") && count <= ITEMS_MAX,
      "bad_field",
      `The VHDX has no metadata where its region table says: ${REMAKE}`,
    )
  )
    return undefined;
  const items = Array.from({ length: count }, (_, index) => itemAt(table, 32 + index * 32));
  const ids = items.map(({ id }) => id);
  const wanted = items.filter(({ id }) => READ.includes(id));

  report.expect(!ids.includes(ITEM.parentLocator), "parent", `The VHDX names a parent disk: ${MERGE}`);
  report.expect(
    items.every(({ id, required }) => !required || KNOWN.includes(id)),
    "unknown_feature",
    `The VHDX needs a metadata item that is not known here: ${REMAKE}`,
  );
  const fine =
    report.expect(new Set(ids).size === ids.length, "bad_field", `The VHDX has a metadata item twice: ${REMAKE}`) &&
    report.expect(
      wanted.length === READ.length,
      "bad_field",
      `The VHDX lacks a metadata item for its size, blocks or sectors: ${REMAKE}`,
    ) &&
    report.expect(
      wanted.every(({ offset, lengthBytes }) => offset >= TABLE_BYTES && lengthBytes >= 4 && offset + lengthBytes <= region.lengthBytes),
      "bad_field",
      `The VHDX has a metadata item outside of its metadata: ${REMAKE}`,
    );
  return fine ? wanted : undefined;
}

function itemAt(table: Uint8Array, at: number): Item {
  const { u32 } = littleEndian(table);
  return { id: guidAt(table, at), offset: u32(at + 16), lengthBytes: u32(at + 20), required: (u32(at + 24) & FLAG_REQUIRED) !== 0 };
}

function checkValues(report: Report, values: { blockBytes: number; flags: number; sizeBytes: number; sectorBytes: number }) {
  const { blockBytes, flags, sizeBytes, sectorBytes } = values;
  report.setVirtualSize(sizeBytes);
  report.expect((flags & FLAG_HAS_PARENT) === 0, "parent", `The VHDX has a parent disk: ${MERGE}`);
  const fine =
    report.expect(
      isPowerOfTwo(blockBytes) && blockBytes >= MiB && blockBytes <= 256 * MiB,
      "bad_field",
      `The VHDX has blocks of ${blockBytes} bytes: ${REMAKE}`,
    ) &&
    report.expect(sectorBytes === 512, "unsupported_kind", `The VHDX has sectors of ${sectorBytes} bytes, and 512 are taken: ${REMAKE}`) &&
    report.expect(sizeBytes % sectorBytes === 0, "bad_field", `The VHDX claims ${sizeBytes} bytes, which are no whole sectors: ${REMAKE}`);
  if (!fine) return undefined;
  const blocks = Math.ceil(sizeBytes / blockBytes);
  const blocksPerChunk = (SECTORS_PER_CHUNK * sectorBytes) / blockBytes;
  return { blockBytes, tableEntries: blocks + Math.floor(Math.max(blocks - 1, 0) / blocksPerChunk) };
}

/** Microsoft's order of bytes: the first three groups are little-endian. */
export function guidAt(bytes: Uint8Array, at: number): string {
  const { u16, u32 } = littleEndian(bytes);
  const digits = (value: number, length: number) => value.toString(16).padStart(length, "0");
  return `${digits(u32(at), 8)}-${digits(u16(at + 4), 4)}-${digits(u16(at + 6), 4)}-${hex(bytes.subarray(at + 8, at + 10))}-${hex(bytes.subarray(at + 10, at + 16))}`;
}

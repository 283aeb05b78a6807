import { GiB, MiB } from "#/lib/units.ts";
import { bigEndian, holds, isPowerOfTwo, isZero, latin1, padded, roundUp, words } from "./bytes.ts";
import { readEnd, readHead, readTable, type End, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/**
 * VHD, fixed and dynamic (Microsoft Virtual Hard Disk Image Format Specification 1.0; sizes as in QEMU's block/vpc.c,
 * which calls it vpc). Every VHD ends with a footer; a dynamic one begins with its copy. Differencing disks are refused.
 */
export function* readVhd(report: Report): Reading {
  const sector = yield* readHead(0, FOOTER_BYTES);
  if (holds(sector, 0, COOKIE)) return yield* readDynamic(report, sector);

  const end = yield* readEnd();
  const footer = end.tail.subarray(-FOOTER_BYTES);
  if (!holds(footer, 0, COOKIE)) return;
  report.match();
  readFixed(report, parseFooter(padded(footer, FOOTER_BYTES)), end.sizeBytes);
}

const COOKIE = "conectix";
const FOOTER_BYTES = 512;
const HEADER_BYTES = 1024;
const VERSION_1_0 = 0x00010000;
const TYPE = { fixed: 2, dynamic: 3, differencing: 4 };
/** The limit of the format's 32-bit sector numbers, as QEMU has it. */
const SIZE_MAX_BYTES = 2040 * GiB;
const BLOCK_MAX_BYTES = 256 * MiB;
const UNUSED_BLOCK = 0xffffffff;
/** The largest geometry: it stands for "too large to say", and the size counts. */
const GEOMETRY_MAX_SECTORS = 65_535 * 16 * 255;
/** Who writes a size that counts; from all others, QEMU takes the geometry (cylinders × heads × sectors). */
const SIZE_COUNTS_FOR = ["win ", "qem2", "d2v ", "CTXS", "tap\0"];
const REMAKE = 'make it again with "qemu-img convert -O vpc -o force_size".';

type Footer = ReturnType<typeof parseFooter>;

function parseFooter(bytes: Uint8Array) {
  const { u8, u16, u32, u64 } = bigEndian(bytes);
  const geometrySectors = u16(56) * u8(58) * u8(59);
  const sizeCounts = SIZE_COUNTS_FOR.includes(latin1(bytes.subarray(28, 32))) || geometrySectors === GEOMETRY_MAX_SECTORS;
  return {
    version: u32(12),
    headerOffset: u64(16),
    currentBytes: u64(48),
    type: u32(60),
    guestBytes: sizeCounts ? Math.floor(u64(48) / 512) * 512 : geometrySectors * 512,
    checksumFits: checksum(bytes, 64) === u32(64),
    identity: latin1(bytes.subarray(68, 84)),
  };
}

/** One's complement of the sum of all bytes but the checksum itself. */
function checksum(bytes: Uint8Array, at: number): number {
  let sum = 0;
  bytes.forEach((byte, index) => {
    if (index < at || index >= at + 4) sum += byte;
  });
  return ~sum >>> 0;
}

/** What holds for every footer. False where it is none that could be read on. */
function checkFooter(report: Report, footer: Footer, type: number): boolean {
  report.expect(
    footer.type !== TYPE.differencing,
    "parent",
    "The VHD is a differencing disk: merge it with its parent (Merge-VHD, or qemu-img convert), then upload the result.",
  );
  const fine =
    report.expect(footer.checksumFits, "corrupt", `The checksum of the VHD footer does not fit: upload the file again, or ${REMAKE}`) &&
    report.expect(
      footer.version === VERSION_1_0,
      "unsupported_kind",
      `The VHD has version ${footer.version >>> 16}.${footer.version & 0xffff}, and 1.0 is taken: ${REMAKE}`,
    ) &&
    report.expect(
      footer.type === type || footer.type === TYPE.differencing,
      "unsupported_kind",
      `The VHD is of type ${footer.type} where ${type} must be: ${REMAKE}`,
    ) &&
    report.expect(
      footer.currentBytes <= SIZE_MAX_BYTES,
      "too_big",
      `The VHD claims ${footer.currentBytes} bytes, and 2040 GiB is the most: ${REMAKE}`,
    );
  checkGeometry(report, footer);
  report.setVirtualSize(footer.guestBytes);
  return fine;
}

/** The geometry rounds the size down by less than a cylinder (16 × 255 sectors), and must not say more than there is. */
function checkGeometry(report: Report, { guestBytes, currentBytes }: Footer): void {
  const fine = guestBytes <= currentBytes && currentBytes - guestBytes < 2 * MiB;
  report.expect(
    fine,
    "bad_field",
    `The VHD has a geometry of ${guestBytes} bytes and a size of ${currentBytes}, so that readers differ about its end: ${REMAKE}`,
  );
}

function readFixed(report: Report, footer: Footer, sizeBytes: number): void {
  if (!checkFooter(report, footer, TYPE.fixed)) return;
  const dataBytes = sizeBytes - FOOTER_BYTES;
  report.expect(
    footer.currentBytes === dataBytes,
    "truncated",
    `The VHD footer says ${footer.currentBytes} bytes, and ${dataBytes} stand before it: upload the whole file.`,
  );
}

function* readDynamic(report: Report, sector: Uint8Array): Reading {
  if (!report.match(sector)) return;
  const footer = parseFooter(sector);
  if (!checkFooter(report, footer, TYPE.dynamic)) return;
  if (
    !report.expect(
      footer.headerOffset >= FOOTER_BYTES && footer.headerOffset <= 32 * 1024,
      "bad_field",
      `The VHD has its header at byte ${footer.headerOffset}: ${REMAKE}`,
    )
  )
    return;

  const header = parseHeader(padded(yield* readHead(footer.headerOffset, HEADER_BYTES), HEADER_BYTES));
  if (!checkHeader(report, footer, header)) return;
  const lastBytes = yield* readBlockTable(header);
  const end = yield* readEnd();
  checkEnd(report, footer, end);
  report.expectInside("block table", header.tableOffset + header.blocks * 4, end.sizeBytes);
  report.expectInside("last block", lastBytes, end.sizeBytes);
}

type Header = ReturnType<typeof parseHeader>;

function parseHeader(bytes: Uint8Array) {
  const { u32, u64 } = bigEndian(bytes);
  return {
    hasCookie: holds(bytes, 0, "cxsparse"),
    tableOffset: u64(16),
    version: u32(24),
    blocks: u32(28),
    blockBytes: u32(32),
    checksumFits: checksum(bytes, 36) === u32(36),
    // Unique id, name (UTF-16) and locators of a parent.
    hasParent: !isZero(bytes.subarray(40, 56)) || !isZero(bytes.subarray(64, 768)),
  };
}

function checkHeader(report: Report, footer: Footer, header: Header): boolean {
  const { blocks, blockBytes } = header;
  return (
    report.expect(header.hasCookie, "bad_field", `The VHD has no dynamic header at byte ${footer.headerOffset}: ${REMAKE}`) &&
    report.expect(
      !header.hasParent,
      "parent",
      "The VHD names a parent disk: merge it with its parent (Merge-VHD, or qemu-img convert), then upload the result.",
    ) &&
    report.expect(
      header.checksumFits,
      "corrupt",
      `The checksum of the dynamic VHD header does not fit: upload the file again, or ${REMAKE}`,
    ) &&
    report.expect(header.version === VERSION_1_0, "unsupported_kind", `The dynamic VHD header has version ${header.version}: ${REMAKE}`) &&
    report.expect(
      isPowerOfTwo(blockBytes) && blockBytes >= 512 && blockBytes <= BLOCK_MAX_BYTES,
      "bad_field",
      `The VHD has blocks of ${blockBytes} bytes: ${REMAKE}`,
    ) &&
    report.expect(
      blocks <= SIZE_MAX_BYTES / blockBytes && blocks * blockBytes >= footer.guestBytes,
      "bad_field",
      `The VHD has ${blocks} blocks of ${blockBytes} bytes for a disk of ${footer.guestBytes}: ${REMAKE}`,
    )
  );
}

/** Looks through the block allocation table; answers where the last block ends. */
function* readBlockTable(header: Header): Reading<number> {
  const bitmapBytes = roundUp(header.blockBytes / 512 / 8, 512);
  let last = -1;
  yield* readTable(header.tableOffset, header.blocks * 4, (slice) => {
    for (const sector of words(slice, "big")) if (sector !== UNUSED_BLOCK && sector > last) last = sector;
  });
  return last < 0 ? 0 : last * 512 + bitmapBytes + header.blockBytes;
}

/** The footer at the end must say the same as its copy at the start: tools differ in which of the two they believe. */
function checkEnd(report: Report, copy: Footer, { tail }: End): void {
  const bytes = tail.subarray(-FOOTER_BYTES);
  if (!report.expect(holds(bytes, 0, COOKIE), "truncated", "The VHD does not end with its footer: upload the whole file.")) return;
  const footer = parseFooter(padded(bytes, FOOTER_BYTES));
  const same =
    footer.checksumFits &&
    footer.type === copy.type &&
    footer.currentBytes === copy.currentBytes &&
    footer.guestBytes === copy.guestBytes &&
    footer.headerOffset === copy.headerOffset &&
    footer.identity === copy.identity;
  report.expect(same, "bad_field", `The footer of the VHD and its copy at the start contradict each other: ${REMAKE}`);
}

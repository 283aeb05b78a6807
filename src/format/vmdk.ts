import { KiB } from "#/lib/units.ts";
import { holds, isPowerOfTwo, isZero, latin1, littleEndian, padded, words } from "./bytes.ts";
import { readEnd, readHead, readTable, type End, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";
import { checkDescriptor, isDescriptorFile } from "./vmdk-descriptor.ts";

/**
 * VMDK in one file: monolithicSparse and streamOptimized (VMware Virtual Disk Format 5.0, "Hosted Sparse Extents" and
 * "Stream-Optimized Compressed Sparse Extents"; readers' behaviour as in QEMU's block/vmdk.c).
 *
 * A header with capacity 0 makes QEMU open what the descriptor names, so it is refused. With the grain directory at
 * the end, a copy of the header before the end of the stream rules, so both are checked.
 */
export function* readVmdk(report: Report): Reading {
  const sector = yield* readHead(0, SECTOR_BYTES);
  if (!holds(sector, 0, "KDMV")) return yield* readOtherKinds(report, sector);
  if (!report.match(sector)) return;

  const header = parseHeader(sector);
  if (!checkHeader(report, header)) return;
  report.setVirtualSize(header.sectors * SECTOR_BYTES);
  yield* readDescriptor(report, header);

  const lastBytes = header.directoryAtEnd ? 0 : yield* readDirectory(header);
  const end = yield* readEnd();
  checkPlaces(report, header.directoryAtEnd ? footerOf(report, header, end) : header, { sizeBytes: end.sizeBytes, lastBytes });
}

const SECTOR_BYTES = 512;
const FLAG = { newlines: 1 << 0, secondDirectory: 1 << 1 };
const GRAIN_MAX_SECTORS = 0x200000;
const DIRECTORY_MAX_ENTRIES = 32 * 1024 * 1024;
const DESCRIPTOR_OFFSET = 512;
/** Descriptors of one extent have less than 2 KiB; VMware and QEMU reserve 10 KiB. */
const DESCRIPTOR_MAX_BYTES = 48 * KiB;
/** The most by which the text can become shorter when its CID changes. */
const CID_DIGITS = 8;
/** What QEMU searches for a parent, whatever the header says of the descriptor's length. */
const DESCRIPTOR_SEARCHED_BYTES = 20 * SECTOR_BYTES;
const REMAKE = 'make it again with "qemu-img convert -O vmdk -o subformat=streamOptimized".';

type Header = ReturnType<typeof parseHeader>;

function parseHeader(sector: Uint8Array) {
  const { u16, u32, u64 } = littleEndian(sector);
  return {
    version: u32(4),
    flags: u32(8),
    sectors: u64(12),
    grainSectors: u64(20),
    descriptorSector: u64(28),
    descriptorSectors: u64(36),
    tableEntries: u32(44),
    secondDirectorySector: u64(48),
    directorySector: u64(56),
    dataSector: u64(64),
    directoryAtEnd: sector.subarray(56, 64).every((byte) => byte === 0xff),
    newlines: latin1(sector.subarray(73, 77)),
    compression: u16(77),
  };
}

function checkHeader(report: Report, header: Header): boolean {
  const { version, sectors, grainSectors, tableEntries } = header;
  return (
    report.expect(version >= 1 && version <= 3, "unsupported_kind", `The VMDK has version ${version}, and 1 to 3 are taken: ${REMAKE}`) &&
    report.expect(
      sectors > 0,
      "outside_extent",
      `The VMDK header has no capacity, so that its data would be in outside files: ${REMAKE}`,
    ) &&
    report.expect(
      (header.flags & FLAG.newlines) === 0 || header.newlines === "\n \r\n",
      "corrupt",
      "The VMDK was transferred as text, which changed its bytes: transfer it again as binary.",
    ) &&
    report.expect(
      isPowerOfTwo(grainSectors) && grainSectors >= 8 && grainSectors <= GRAIN_MAX_SECTORS,
      "bad_field",
      `The VMDK has grains of ${grainSectors} sectors: ${REMAKE}`,
    ) &&
    report.expect(
      tableEntries >= 1 && tableEntries <= 512,
      "bad_field",
      `The VMDK has grain tables of ${tableEntries} entries: ${REMAKE}`,
    ) &&
    report.expect(
      directoryEntries(header) <= DIRECTORY_MAX_ENTRIES,
      "bad_field",
      `The VMDK would need a grain directory of ${directoryEntries(header)} entries: ${REMAKE}`,
    ) &&
    report.expect(
      header.compression <= 1,
      "unknown_feature",
      `The VMDK has compression ${header.compression}, and only deflate is known: ${REMAKE}`,
    )
  );
}

const directoryEntries = (header: Header): number => Math.ceil(header.sectors / (header.grainSectors * header.tableEntries));

/**
 * The embedded descriptor: it must end within its sectors, and nothing may stand behind its end but what remains of a
 * longer CID. QEMU draws a new one when it writes (vmdk_write_cid) and leaves the rest of a longer text in place: in
 * about one image of 150. So few bytes cannot hold a line that names a file.
 */
function* readDescriptor(report: Report, header: Header): Reading {
  const lengthBytes = header.descriptorSectors * SECTOR_BYTES;
  const placed = header.descriptorSector * SECTOR_BYTES === DESCRIPTOR_OFFSET && lengthBytes > 0 && lengthBytes <= DESCRIPTOR_MAX_BYTES;
  if (
    !report.expect(
      placed,
      "bad_field",
      `The VMDK has its descriptor of ${lengthBytes} bytes at sector ${header.descriptorSector}, and it must follow the header: ${REMAKE}`,
    )
  )
    return;

  const bytes = yield* readHead(DESCRIPTOR_OFFSET, Math.max(lengthBytes, DESCRIPTOR_SEARCHED_BYTES));
  const end = bytes.indexOf(0);
  const text = latin1(bytes.subarray(0, end < 0 ? bytes.length : end));
  const whole = text.length <= lengthBytes && isZero(bytes.subarray(text.length + CID_DIGITS, lengthBytes));
  report.expect(whole, "bad_field", `The VMDK has bytes behind the end of its descriptor, or no end of it: ${REMAKE}`);
  checkDescriptor(report, text, header);
}

/** Looks through the grain directory; answers where the last grain table ends. */
function* readDirectory(header: Header): Reading<number> {
  let last = 0;
  yield* readTable(header.directorySector * SECTOR_BYTES, directoryEntries(header) * 4, (slice) => {
    for (const sector of words(slice, "little")) if (sector > last) last = sector;
  });
  return last === 0 ? 0 : last * SECTOR_BYTES + header.tableEntries * 4;
}

/** The copy of the header that rules where the grain directory is at the end: marker, copy, end marker. */
function footerOf(report: Report, header: Header, { sizeBytes, tail }: End): Header {
  const [marker, copy, last] = [0, 1, 2].map((index) =>
    padded(tail.subarray(index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES), SECTOR_BYTES),
  ) as [Uint8Array, Uint8Array, Uint8Array];
  const framed =
    sizeBytes % SECTOR_BYTES === 0 &&
    holds(copy, 0, "KDMV") &&
    littleEndian(marker).u32(8) === 0 &&
    littleEndian(marker).u32(12) === MARKER_FOOTER &&
    isZero(last.subarray(0, 16));
  if (!report.expect(framed, "truncated", "The VMDK does not end with the footer that its header announces: upload the whole file."))
    return header;

  const footer = parseHeader(copy);
  const same =
    footer.sectors === header.sectors &&
    footer.grainSectors === header.grainSectors &&
    footer.tableEntries === header.tableEntries &&
    footer.version === header.version &&
    footer.compression === header.compression &&
    !footer.directoryAtEnd;
  report.expect(same, "bad_field", `The header and the footer of the VMDK contradict each other: ${REMAKE}`);
  return footer;
}

const MARKER_FOOTER = 3;

function checkPlaces(report: Report, header: Header, { sizeBytes, lastBytes }: { sizeBytes: number; lastBytes: number }): void {
  const tableBytes = directoryEntries(header) * 4;
  report.expectInside("grain directory", header.directorySector * SECTOR_BYTES + tableBytes, sizeBytes);
  if ((header.flags & FLAG.secondDirectory) !== 0)
    report.expectInside("second grain directory", header.secondDirectorySector * SECTOR_BYTES + tableBytes, sizeBytes);
  report.expectInside("metadata", header.dataSector * SECTOR_BYTES, sizeBytes);
  report.expectInside("last grain table", lastBytes, sizeBytes);
}

/** COWD extents of ESX and descriptors that stand alone: their data is elsewhere, or no tool here writes them. */
function* readOtherKinds(report: Report, sector: Uint8Array): Reading {
  if (holds(sector, 0, "COWD")) {
    report.match(sector);
    report.expect(false, "unsupported_kind", `The VMDK is of the kind vmfsSparse: ${REMAKE}`);
  } else if (isDescriptorFile(latin1(yield* readHead(0, 2048)))) {
    report.match();
    report.expect(false, "outside_extent", `The file is only the descriptor of a VMDK, and its data is in other files: ${REMAKE}`);
  }
}

import { KiB, MiB } from "#/lib/units.ts";
import { bigEndian, holds, padded, roundUp, words } from "./bytes.ts";
import { read, readEnd, readHead, readTable, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/**
 * qcow2, versions 2 and 3 (QEMU docs/interop/qcow2.rst; limits as in QEMU's block/qcow2.c).
 *
 * Accepted beside the plain case: internal snapshots, bitmaps, compression by zlib or zstd, extended L2 entries, and
 * the dirty bit: it says that reference counts may be stale, which no reader uses and the first writer repairs.
 * Encryption is refused: the key is not in the image, so a volume made of it could not be read.
 */
export function* readQcow2(report: Report): Reading {
  const sector = yield* readHead(0, 512);
  if (!holds(sector, 0, "QFI\xfb")) return;
  if (!report.match(sector)) return;

  const header = parseHeader(sector);
  if (!checkHeader(report, header)) return;
  checkFeatures(report, header);
  // QEMU counts whole sectors, and leaves out what is over.
  report.setVirtualSize(header.sizeBytes - (header.sizeBytes % 512));
  checkTables(report, header);

  const bitmaps = yield* readExtensions(report, header);
  const lastL2Bytes = yield* readL1(report, header);
  const { sizeBytes } = yield* readEnd();
  checkPlaces(report, header, { sizeBytes, lastL2Bytes, bitmaps });
}

const INCOMPATIBLE = { corrupt: 1 << 1, dataFile: 1 << 2, compression: 1 << 3, extendedL2: 1 << 4, known: 0b11111 };
const AUTOCLEAR_RAW_DATA_FILE = 1 << 1;
const EXTENSION = { end: 0, dataFile: 0x44415441, encryption: 0x0537be77, bitmaps: 0x23852875 };
const EXTENSIONS_MAX = 64;
const L1_MAX_BYTES = 32 * MiB;
const REFCOUNT_TABLE_MAX_BYTES = 8 * MiB;
const SNAPSHOTS_MAX = 65_536;
const BITMAP_DIRECTORY_MAX_BYTES = 65_535 * KiB;

type Header = ReturnType<typeof parseHeader>;

function parseHeader(sector: Uint8Array) {
  const { u8, u32, u64 } = bigEndian(sector);
  const version = u32(4);
  const modern = version >= 3;
  const clusterBits = u32(20);
  return {
    version,
    clusterBits,
    clusterBytes: 2 ** clusterBits,
    backingFile: u64(8),
    sizeBytes: u64(24),
    cryptMethod: u32(32),
    l1Entries: u32(36),
    l1Offset: u64(40),
    refcountOffset: u64(48),
    refcountClusters: u32(56),
    snapshots: u32(60),
    snapshotsOffset: u64(64),
    incompatible: { high: modern ? u32(72) : 0, low: modern ? u32(76) : 0 },
    autoclear: modern ? u32(92) : 0,
    refcountOrder: modern ? u32(96) : 4,
    headerBytes: modern ? u32(100) : 72,
    compression: modern && u32(100) > 104 ? u8(104) : 0,
  };
}

/** The fields without which nothing else has a meaning. */
function checkHeader(report: Report, header: Header): boolean {
  const { version, clusterBits, headerBytes, clusterBytes } = header;
  return (
    report.expect(
      version === 2 || version === 3,
      "unsupported_kind",
      `The image is qcow version ${version}, and 2 and 3 are taken: convert it with "qemu-img convert -O qcow2".`,
    ) &&
    report.expect(
      clusterBits >= 9 && clusterBits <= 21,
      "bad_field",
      `The qcow2 header has cluster_bits ${clusterBits}, and it must be 9 to 21: make the image again.`,
    ) &&
    report.expect(
      version === 2 || (headerBytes >= 104 && headerBytes % 8 === 0 && headerBytes <= clusterBytes),
      "bad_field",
      `The qcow2 header claims a length of ${headerBytes} bytes: make the image again with "qemu-img convert -O qcow2".`,
    )
  );
}

function checkFeatures(report: Report, header: Header): void {
  const { incompatible, compression, clusterBits } = header;
  const has = (bit: number) => (incompatible.low & bit) !== 0;
  const flatten = 'flatten it with "qemu-img convert -O qcow2 IMAGE NEW", then upload the result.';

  report.expect(header.backingFile === 0, "backing_file", `The image names a backing file: ${flatten}`);
  report.expect(
    !has(INCOMPATIBLE.dataFile) && (header.autoclear & AUTOCLEAR_RAW_DATA_FILE) === 0,
    "data_file",
    `The image keeps its data in another file: ${flatten}`,
  );
  report.expect(
    !has(INCOMPATIBLE.corrupt),
    "corrupt",
    'The image is marked as corrupt: repair it with "qemu-img check -r all", then upload it again.',
  );
  report.expect(
    (incompatible.low & ~INCOMPATIBLE.known) === 0 && incompatible.high === 0,
    "unknown_feature",
    'The image needs features that are not known here: convert it with "qemu-img convert -O qcow2 -o compat=1.1".',
  );
  report.expect(
    header.cryptMethod === 0,
    "encrypted",
    "The image is encrypted, and its key is not here: decrypt it with qemu-img convert, and upload it to an encrypted volume type.",
  );
  report.expect(
    has(INCOMPATIBLE.compression) ? compression === 1 : compression === 0,
    "unknown_feature",
    `The image has compression type ${compression}, and zlib and zstd are known: convert it with "qemu-img convert -O qcow2".`,
  );
  report.expect(
    !has(INCOMPATIBLE.extendedL2) || clusterBits >= 14,
    "bad_field",
    "The image has extended L2 entries with clusters below 16 KiB: make the image again.",
  );
  report.expect(
    header.refcountOrder <= 6,
    "bad_field",
    `The image has refcount_order ${header.refcountOrder}, and 6 is the most: make the image again.`,
  );
}

/** Tables must be aligned, within QEMU's limits, and large enough for the size. */
function checkTables(report: Report, header: Header): void {
  const { clusterBytes, l1Entries, l1Offset, refcountOffset, refcountClusters, snapshots, snapshotsOffset } = header;
  const entryBytes = (header.incompatible.low & INCOMPATIBLE.extendedL2) !== 0 ? 16 : 8;
  const l1Wanted = Math.ceil(header.sizeBytes / (clusterBytes * (clusterBytes / entryBytes)));
  const aligned = (offset: number) => offset % clusterBytes === 0;

  report.expect(
    l1Entries >= l1Wanted && l1Entries * 8 <= L1_MAX_BYTES,
    "bad_field",
    `The L1 table has ${l1Entries} entries, and a disk of ${header.sizeBytes} bytes needs ${l1Wanted}: make the image again.`,
  );
  report.expect(
    aligned(l1Offset) && (l1Entries === 0 || l1Offset > 0),
    "bad_field",
    `The L1 table cannot be at byte ${l1Offset}: make the image again.`,
  );
  report.expect(
    aligned(refcountOffset) && refcountOffset > 0,
    "bad_field",
    `The refcount table cannot be at byte ${refcountOffset}: make the image again.`,
  );
  report.expect(
    refcountClusters > 0 && refcountClusters * clusterBytes <= REFCOUNT_TABLE_MAX_BYTES,
    "bad_field",
    `The refcount table cannot have ${refcountClusters} clusters: make the image again.`,
  );
  report.expect(
    snapshots <= SNAPSHOTS_MAX && aligned(snapshotsOffset) && (snapshots === 0 || snapshotsOffset > 0),
    "bad_field",
    `The image cannot have ${snapshots} snapshots at byte ${snapshotsOffset}: delete them with "qemu-img snapshot -d", or make the image again.`,
  );
}

interface Bitmaps {
  readonly offset: number;
  readonly endBytes: number;
}

/** Walks the header extensions, which fill the rest of the first cluster. */
function* readExtensions(report: Report, header: Header): Reading<Bitmaps | undefined> {
  let bitmaps: Bitmaps | undefined;
  let offset = header.headerBytes;
  for (let count = 0; offset + 8 <= header.clusterBytes; count++) {
    if (!report.expect(count < EXTENSIONS_MAX, "bad_field", `The header has more than ${EXTENSIONS_MAX} extensions: make the image again.`))
      return bitmaps;
    const { u32 } = bigEndian(padded((yield* read(offset, 8)) ?? new Uint8Array(), 8));
    const [type, lengthBytes] = [u32(0), u32(4)];
    checkExtension(report, header, { type, offset, lengthBytes });
    if (type === EXTENSION.end) return bitmaps;
    if (type === EXTENSION.bitmaps) bitmaps = yield* readBitmaps(offset + 8);
    offset += 8 + roundUp(lengthBytes, 8);
  }
  return bitmaps;
}

function checkExtension(
  report: Report,
  header: Header,
  { type, offset, lengthBytes }: { type: number; offset: number; lengthBytes: number },
): void {
  report.expect(
    type !== EXTENSION.dataFile,
    "data_file",
    'The image names a data file: flatten it with "qemu-img convert -O qcow2 IMAGE NEW", then upload the result.',
  );
  report.expect(
    type !== EXTENSION.encryption,
    "encrypted",
    "The image names an encryption header: decrypt it with qemu-img convert, and upload it to an encrypted volume type.",
  );
  report.expect(
    offset + 8 + lengthBytes <= header.clusterBytes,
    "bad_field",
    `The header extension at byte ${offset} claims ${lengthBytes} bytes, which is more than the header has: make the image again.`,
  );
  report.expect(
    type !== EXTENSION.bitmaps || lengthBytes === 24,
    "bad_field",
    "The bitmaps extension has a wrong length: make the image again with qemu-img convert.",
  );
}

function* readBitmaps(offset: number): Reading<Bitmaps> {
  const { u64 } = bigEndian(padded((yield* read(offset, 24)) ?? new Uint8Array(), 24));
  return { offset: u64(16), endBytes: u64(16) + Math.min(u64(8), BITMAP_DIRECTORY_MAX_BYTES) };
}

/** Checks the entries of the L1 table; answers where the last L2 table begins. */
function* readL1(report: Report, header: Header): Reading<number> {
  let last = 0;
  let fine = true;
  yield* readTable(header.l1Offset, header.l1Entries * 8, (slice) => {
    const entries = words(slice, "big");
    for (let at = 0; at + 1 < entries.length; at += 2) {
      const low = entries[at + 1] as number;
      const offset = ((entries[at] as number) & 0x00ffffff) * 2 ** 32 + low;
      if ((low & (header.clusterBytes - 1)) !== 0) fine = false;
      if (offset > last) last = offset;
    }
  });
  report.expect(
    fine,
    "bad_field",
    'The L1 table points between clusters: repair it with "qemu-img check -r all", or make the image again.',
  );
  return last;
}

/** What can be said only when the size of the file is known. */
function checkPlaces(
  report: Report,
  header: Header,
  { sizeBytes, lastL2Bytes, bitmaps }: { sizeBytes: number; lastL2Bytes: number; bitmaps: Bitmaps | undefined },
): void {
  report.expectInside("header", header.headerBytes, sizeBytes);
  report.expectInside("L1 table", header.l1Offset + header.l1Entries * 8, sizeBytes);
  report.expectInside("refcount table", header.refcountOffset + 1, sizeBytes);
  if (header.snapshotsOffset > 0) report.expectInside("snapshot table", header.snapshotsOffset + 1, sizeBytes);
  if (lastL2Bytes > 0) report.expectInside("last L2 table", lastL2Bytes + 1, sizeBytes);
  if (bitmaps) report.expectInside("bitmap directory", bitmaps.endBytes, sizeBytes);
}

import { MiB } from "#/lib/units.ts";
import { isZero, littleEndian, roundUp, words } from "./bytes.ts";
import { readEnd, readHead, readTable, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/**
 * VirtualBox's VDI 1.1, dynamic and fixed (VirtualBox src/VBox/Storage/VDICore.h; limits as in QEMU's block/vdi.c,
 * which reads blocks of 1 MiB only). Undo and differencing images have a parent, and are refused.
 */
export function* readVdi(report: Report): Reading {
  const sector = yield* readHead(0, 512);
  if (sector.length < 68 || littleEndian(sector).u32(64) !== SIGNATURE) return;
  if (!report.match(sector)) return;

  const header = parseHeader(sector);
  if (!checkHeader(report, header)) return;
  report.setVirtualSize(roundUp(header.sizeBytes, 512));
  const allocatedBlocks = yield* readBlockMap(report, header);
  const { sizeBytes } = yield* readEnd();
  report.expectInside("block map", header.mapOffset + header.blocks * 4, sizeBytes);
  report.expectInside("last block", allocatedBlocks === 0 ? 0 : header.dataOffset + allocatedBlocks * BLOCK_BYTES, sizeBytes);
}

const SIGNATURE = 0xbeda107f;
const VERSION_1_1 = 0x00010001;
const TYPE = { dynamic: 1, fixed: 2 };
const BLOCK_BYTES = MiB;
const BLOCKS_MAX = 0x3fffffff;
/** From here on an entry of the map is no block: 0xfffffffe reads as zeroes, 0xffffffff was never written. */
const DISCARDED = 0xfffffffe;
const REMAKE = 'make it again with "VBoxManage clonemedium --format VDI" or qemu-img convert.';

type Header = ReturnType<typeof parseHeader>;

function parseHeader(sector: Uint8Array) {
  const { u32, u64 } = littleEndian(sector);
  return {
    version: u32(68),
    type: u32(76),
    mapOffset: u32(340),
    dataOffset: u32(344),
    sectorBytes: u32(360),
    sizeBytes: u64(368),
    blockBytes: u32(376),
    blocks: u32(384),
    allocated: u32(388),
    linked: !isZero(sector.subarray(424, 456)),
  };
}

function checkHeader(report: Report, header: Header): boolean {
  const { version, type, mapOffset, dataOffset, blocks } = header;
  return (
    report.expect(
      version === VERSION_1_1,
      "unsupported_kind",
      `The VDI has version ${version >>> 16}.${version & 0xffff}, and 1.1 is taken: ${REMAKE}`,
    ) &&
    report.expect(
      !header.linked,
      "parent",
      "The VDI depends on a parent disk: make a full clone with VBoxManage clonemedium, then upload that.",
    ) &&
    report.expect(
      type === TYPE.dynamic || type === TYPE.fixed,
      "parent",
      `The VDI is of type ${type}, which needs another disk: make a full clone with VBoxManage clonemedium, then upload that.`,
    ) &&
    report.expect(
      header.sectorBytes === 512 && header.blockBytes === BLOCK_BYTES,
      "unsupported_kind",
      `The VDI has blocks of ${header.blockBytes} bytes, and 1 MiB is taken: ${REMAKE}`,
    ) &&
    report.expect(
      mapOffset % 512 === 0 && mapOffset >= 512 && dataOffset % 512 === 0 && dataOffset >= 512,
      "bad_field",
      `The VDI has its map at byte ${mapOffset} and its data at byte ${dataOffset}: ${REMAKE}`,
    ) &&
    report.expect(
      blocks <= BLOCKS_MAX && header.sizeBytes <= blocks * BLOCK_BYTES && header.allocated <= blocks,
      "bad_field",
      `The VDI has ${blocks} blocks for ${header.sizeBytes} bytes, ${header.allocated} of them in use: ${REMAKE}`,
    )
  );
}

/** Looks through the block map; answers the count of blocks that the file must hold. */
function* readBlockMap(report: Report, header: Header): Reading<number> {
  let count = 0;
  let fine = true;
  yield* readTable(header.mapOffset, header.blocks * 4, (slice) => {
    for (const block of words(slice, "little")) {
      if (block >= DISCARDED) continue;
      if (block >= header.blocks) fine = false;
      if (block >= count) count = block + 1;
    }
  });
  report.expect(fine, "bad_field", `The block map of the VDI points outside of the disk: ${REMAKE}`);
  return count;
}

import { bigEndian, holds, littleEndian } from "./bytes.ts";
import { readEnd, readHead, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/**
 * ISO 9660 (ECMA-119) and UDF discs (ECMA-167 volume recognition), with a partition table of their own or without.
 * Descriptors follow each other from sector 16; the primary one (type 1) has the size.
 */
export function* readIso(report: Report): Reading {
  const first = yield* descriptor(0);
  if (holds(first, 1, "BEA01")) return yield* readUdf(report);
  if (!holds(first, 1, "CD001")) return;
  report.match();

  const volumeBytes = yield* readVolumeSize(report);
  const { sizeBytes } = yield* readEnd();
  report.expectInside("ISO 9660 volume", volumeBytes - RUN_OUT_BYTES, sizeBytes);
}

const SECTOR_BYTES = 2048;
const FIRST_SECTOR = 16;
const DESCRIPTORS_MAX = 16;
const TYPE = { primary: 1, terminator: 255 };
/** Writers count 150 sectors of run-out that copies of a disc lack (mkisofs -pad); they hold nothing. */
const RUN_OUT_BYTES = 150 * SECTOR_BYTES;

function* descriptor(index: number): Reading<Uint8Array> {
  return yield* readHead((FIRST_SECTOR + index) * SECTOR_BYTES, SECTOR_BYTES);
}

function* readVolumeSize(report: Report): Reading<number> {
  for (let index = 0; index < DESCRIPTORS_MAX; index++) {
    const sector = yield* descriptor(index);
    if (sector.length < SECTOR_BYTES || !holds(sector, 1, "CD001") || sector[0] === TYPE.terminator) break;
    if (sector[0] === TYPE.primary) return volumeSize(report, sector);
  }
  report.expect(false, "bad_field", "The ISO image has no primary volume descriptor: make it again, or upload it as raw.");
  return 0;
}

/** Each number stands there twice, little-endian and then big-endian. */
function volumeSize(report: Report, sector: Uint8Array): number {
  const [little, big] = [littleEndian(sector), bigEndian(sector)];
  const [blocks, blockBytes] = [little.u32(80), little.u16(128)];
  const fine = blocks === big.u32(84) && blockBytes === big.u16(130) && [512, 1024, 2048].includes(blockBytes);
  report.expect(fine, "bad_field", "The ISO image contradicts itself about its size: make it again, or upload it as raw.");
  return fine ? blocks * blockBytes : 0;
}

function* readUdf(report: Report): Reading {
  for (let index = 1; index < DESCRIPTORS_MAX; index++) {
    const sector = yield* descriptor(index);
    if (!holds(sector, 1, "NSR02") && !holds(sector, 1, "NSR03")) continue;
    report.match();
    return;
  }
}

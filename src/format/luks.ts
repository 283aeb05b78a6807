import { MiB } from "#/lib/units.ts";
import { bigEndian, holds, isPowerOfTwo, padded } from "./bytes.ts";
import { readEnd, readHead, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/**
 * LUKS 1 and 2 (LUKS On-Disk Format 1.2.3; LUKS2 On-Disk Format 1.1.1): an encrypted raw disk. It is kept byte for byte
 * as raw. A header alone, with its data elsewhere, is refused.
 */
export function* readLuks(report: Report): Reading {
  const start = yield* readHead(0, 592);
  if (!holds(start, 0, "LUKS\xba\xbe")) return;
  report.match();

  const { u16, u32, u64 } = bigEndian(padded(start, 592));
  const version = u16(6);
  if (
    !report.expect(
      version === 1 || version === 2,
      "unsupported_kind",
      `The disk has LUKS version ${version}, and 1 and 2 are known: encrypt it again with cryptsetup.`,
    )
  )
    return;
  const headerBytes = version === 1 ? u32(104) * 512 : u64(8) * 2;
  if (version === 1)
    report.expect(headerBytes > 0, "outside_extent", "The LUKS header says that its data is elsewhere: upload the disk with its header.");
  else
    report.expect(
      isPowerOfTwo(u64(8)) && u64(8) >= LUKS2_HEADER_MIN_BYTES && u64(8) <= LUKS2_HEADER_MAX_BYTES,
      "bad_field",
      `The LUKS2 header claims ${u64(8)} bytes: restore it with cryptsetup.`,
    );

  const { sizeBytes } = yield* readEnd();
  report.expectInside("LUKS header", headerBytes, sizeBytes);
}

const LUKS2_HEADER_MIN_BYTES = 16 * 1024;
const LUKS2_HEADER_MAX_BYTES = 4 * MiB;

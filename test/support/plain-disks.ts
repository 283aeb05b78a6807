import { crc32 } from "node:zlib";
import { MiB } from "#/lib/units.ts";
import { edited, putText } from "./disk-images.ts";

/** Disks without a container, written by hand: partition tables and ISO images. */

export interface PartitionEntry {
  readonly flag?: number;
  readonly type: number;
  readonly startSector: number;
  readonly sectors: number;
}

/** `disk` with a boot record of these entries. */
export function withMbr(disk: Uint8Array, ...entries: readonly PartitionEntry[]): Uint8Array {
  return edited(disk, (view) => {
    entries.forEach(({ flag = 0, type, startSector, sectors }, index) => {
      const at = 446 + index * 16;
      view.setUint8(at, flag);
      view.setUint8(at + 4, type);
      view.setUint32(at + 8, startSector, true);
      view.setUint32(at + 12, sectors, true);
    });
    view.setUint16(510, 0x55aa);
  });
}

/** `disk` with a GPT header in its second sector; without the boot record that belongs before it. */
export function withGptHeader(disk: Uint8Array, sectorBytes = 512): Uint8Array {
  return edited(disk, (view, copy) => {
    const header = new DataView(view.buffer, sectorBytes, 92);
    putText(copy, sectorBytes, "EFI PART");
    header.setUint32(8, 0x00010000, true);
    header.setUint32(12, 92, true);
    header.setBigUint64(24, 1n, true);
    header.setBigUint64(32, BigInt(disk.length / sectorBytes - 1), true);
    header.setUint32(16, crc32(copy.subarray(sectorBytes, sectorBytes + 92)), true);
  });
}

export const PROTECTIVE: PartitionEntry = { type: 0xee, startSector: 1, sectors: 0xffffffff };

export function withGpt(disk: Uint8Array, sectorBytes = 512): Uint8Array {
  return withMbr(withGptHeader(disk, sectorBytes), PROTECTIVE);
}

/** An ISO 9660 image of `sizeBytes` with a boot record, a primary descriptor and a terminator. */
export function isoImage(sizeBytes = MiB, volumeBytes = sizeBytes): Uint8Array {
  return edited(new Uint8Array(sizeBytes), (view, copy) => {
    [
      [16, 1],
      [17, 0],
      [18, 255],
    ].forEach(([sector = 0, type = 0]) => {
      copy[sector * 2048] = type;
      putText(copy, sector * 2048 + 1, "CD001\x01");
    });
    const primary = 16 * 2048;
    view.setUint32(primary + 80, volumeBytes / 2048, true);
    view.setUint32(primary + 84, volumeBytes / 2048);
    view.setUint16(primary + 128, 2048, true);
    view.setUint16(primary + 130, 2048);
  });
}

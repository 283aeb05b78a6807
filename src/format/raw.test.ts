import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { edited, GUEST_BYTES, guestDisk, inspect, putText } from "../../test/support/disk-images.ts";
import { PROTECTIVE, withGpt, withGptHeader, withMbr } from "../../test/support/plain-disks.ts";

const disk = guestDisk();
const whole = { format: "raw", sizeBytes: GUEST_BYTES, virtualSizeBytes: GUEST_BYTES, problems: [] };
const LINUX = { type: 0x83, startSector: 2048, sectors: 4096 };
const bootCode = (bytes: Uint8Array) =>
  edited(bytes, (view) => {
    for (let at = 0; at < 510; at++) view.setUint8(at, (at * 37 + 11) & 0xff);
    view.setUint16(510, 0x55aa);
  });

const taken: readonly [name: string, bytes: Uint8Array, partitionTable?: "mbr" | "gpt"][] = [
  ["a disk without partitions", disk],
  ["an ext4 file system on the whole disk", edited(disk, (view) => view.setUint16(1024 + 56, 0x53ef))],
  ["a boot record with a partition", withMbr(disk, LINUX), "mbr"],
  [
    "a boot record with an active and an empty partition",
    withMbr(disk, { ...LINUX, flag: 0x80 }, { type: 0, startSector: 0, sectors: 0 }, LINUX),
    "mbr",
  ],
  ["a GPT", withGpt(disk), "gpt"],
  ["a GPT with sectors of 4096 bytes", withGpt(disk, 4096), "gpt"],
  ["a GPT beside a partition for old tools", withMbr(withGptHeader(disk), PROTECTIVE, LINUX), "gpt"],
  ["a FAT file system, which begins with a boot sector", withMbr(edited(disk, (_, copy) => putText(copy, 0, "\xeb\x3c\x90mkfs.fat")))],
  ["boot code that is no table", bootCode(disk)],
  ["a boot record whose entries are empty", withMbr(disk, { type: 0x83, startSector: 0, sectors: 0 })],
  ["a boot record whose flags cannot be", withMbr(disk, LINUX, { ...LINUX, flag: 0x42 })],
  ["what is left of a GPT", edited(withGptHeader(disk), (view) => view.setUint8(600, 1))],
  ["a GPT header of impossible length", edited(withGptHeader(disk), (view) => view.setUint32(512 + 12, 0xffffffff, true))],
  ["a protective entry whose GPT is gone", withMbr(disk, PROTECTIVE), "mbr"],
];

describe("readRaw() takes", () => {
  for (const [name, bytes, partitionTable] of taken) {
    it(name, () => assert.deepEqual(inspect(bytes), { ...whole, ...(partitionTable && { partitionTable }) }));
  }

  for (const sizeBytes of [0, 1, 4, 511, 512, 513]) {
    it(`${sizeBytes} bytes`, () =>
      assert.deepEqual(inspect(new Uint8Array(sizeBytes)), { ...whole, sizeBytes, virtualSizeBytes: sizeBytes }));
  }
});

describe("readRaw() refuses", () => {
  for (const [name, bytes] of [
    ["no boot record", withGptHeader(disk)],
    ["another boot record", withMbr(withGptHeader(disk), LINUX)],
  ] as const) {
    it(`a GPT with ${name} before it: bad_field`, () =>
      assert.deepEqual(
        inspect(bytes).problems.map(({ rule }) => rule),
        ["bad_field"],
      ));
  }
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { converted, created, edited, GUEST_BYTES, inspect, putText } from "../../test/support/disk-images.ts";
import { crc32c } from "./crc32.ts";

const plain = converted("vhdx");
const REGIONS = 192 * KiB;
const TABLE = 2 * MiB;
const METADATA = 3 * MiB;

const accepted: readonly [name: string, image: () => Uint8Array, virtualSizeBytes: number][] = [
  ["a dynamic disk", () => plain, GUEST_BYTES],
  ["a fixed disk", () => converted("vhdx", ["subformat=fixed"]), GUEST_BYTES],
  ["blocks of 1 MiB", () => converted("vhdx", ["block_size=1M"]), GUEST_BYTES],
  ["a log of 4 MiB", () => converted("vhdx", ["log_size=4M"]), GUEST_BYTES],
  ["an empty disk of 40 GiB", () => created("vhdx", [], "40G"), 40 * GiB],
  ["a disk of the largest size", () => created("vhdx", ["-o", "block_size=256M"], "64T"), 64 * 1024 * GiB],
  ["metadata before the block table, as Windows has it", () => swapped(), GUEST_BYTES],
  ["one damaged header of two", () => edited(plain, (view) => view.setUint32(64 * KiB, 0)), GUEST_BYTES],
  ["a region that is not known and not needed", () => withRegion(0), GUEST_BYTES],
];

describe("readVhdx() takes", () => {
  for (const [name, image, virtualSizeBytes] of accepted) {
    it(name, () => {
      const bytes = image();
      assert.deepEqual(inspect(bytes), { format: "vhdx", sizeBytes: bytes.length, virtualSizeBytes, problems: [] });
    });
  }
});

type Change = (view: DataView, copy: Uint8Array) => void;

const headers = (change: Change) => () =>
  [64 * KiB, 128 * KiB].reduce(
    (image, at) =>
      summed(
        edited(image, (view) => change(new DataView(view.buffer, at), new Uint8Array(view.buffer, at))),
        at,
        4 * KiB,
      ),
    plain,
  );
const regions = (change: Change, image = plain) =>
  [REGIONS, 256 * KiB].reduce(
    (made, at) =>
      summed(
        edited(made, (view) => change(new DataView(view.buffer, at), new Uint8Array(view.buffer, at))),
        at,
        64 * KiB,
      ),
    image,
  );
const metadata = (change: Change) => () =>
  edited(plain, (view) => change(new DataView(view.buffer, METADATA), new Uint8Array(view.buffer, METADATA)));

const refused: readonly [name: string, rule: string, image: () => Uint8Array][] = [
  ["a parent bit", "parent", metadata((view) => view.setUint32(65_540, 2, true))],
  ["a parent locator", "parent", metadata((view, copy) => addItem(view, copy, "2d5fd3a80bb34d45abf7d3d84834ab0c", 4))],
  ["a block of which half is in a parent", "parent", () => edited(plain, (view) => view.setUint32(TABLE, 7, true))],
  [
    "an unknown metadata item that must be understood",
    "unknown_feature",
    metadata((view, copy) => addItem(view, copy, "00112233445566778899aabbccddeeff", 4)),
  ],
  ["an unknown region that must be understood", "unknown_feature", () => withRegion(1)],
  ["a log in use", "unclean", headers((view) => view.setUint8(48, 1))],
  ["a log of another version", "unsupported_kind", headers((view) => view.setUint16(64, 1, true))],
  ["a log upon the metadata", "bad_field", headers((view) => view.setBigUint64(72, BigInt(METADATA), true))],
  ["a log in the header", "bad_field", headers((view) => view.setBigUint64(72, 0n, true))],
  [
    "two headers of one number that differ",
    "bad_field",
    headers((view) => {
      view.setBigUint64(8, 5n, true);
      view.setUint8(20, view.byteOffset / KiB);
    }),
  ],
  [
    "no header with its checksum",
    "corrupt",
    () =>
      edited(plain, (view) => {
        view.setUint8(64 * KiB + 9, 0xaa);
        view.setUint8(128 * KiB + 9, 0xaa);
      }),
  ],
  ["another version", "unsupported_kind", headers((view) => view.setUint16(66, 2, true))],
  [
    "a region table without its checksum",
    "corrupt",
    () => edited(plain, (view) => view.setUint8(REGIONS + 4, view.getUint8(REGIONS + 4) ^ 1)),
  ],
  ["two region tables that differ", "bad_field", () => edited(plain, (view) => view.setUint8(256 * KiB + 40, 1))],
  ["too many regions", "bad_field", () => regions((view) => view.setUint32(8, 2048, true))],
  ["no region", "bad_field", () => regions((view) => view.setUint32(8, 0, true))],
  [
    "the metadata twice",
    "bad_field",
    () =>
      regions((view, copy) => {
        addRegion(view, 1);
        copy.copyWithin(80, 48, 64);
      }),
  ],
  ["metadata in the header", "bad_field", () => regions((view) => view.setBigUint64(64, BigInt(64 * KiB), true))],
  ["metadata between megabytes", "bad_field", () => regions((view) => view.setBigUint64(64, BigInt(METADATA + 512), true))],
  ["regions one upon the other", "bad_field", () => regions((view) => view.setUint32(40, 2 * MiB, true))],
  ["a region of no length", "bad_field", () => regions((view) => view.setUint32(72, 0, true))],
  ["metadata behind the end", "truncated", () => regions((view) => view.setBigUint64(64, BigInt(GiB), true))],
  ["metadata at the largest number", "truncated", () => regions((view) => view.setBigUint64(64, (1n << 64n) - 1n, true))],
  ["a region behind the end", "truncated", () => regions((view) => view.setUint32(72, 256 * MiB, true))],
  ["metadata that is none", "bad_field", metadata((_, copy) => putText(copy, 0, "nodadata"))],
  ["too many metadata items", "bad_field", metadata((view) => view.setUint16(10, 2048, true))],
  [
    "a metadata item twice",
    "bad_field",
    metadata((view, copy) => {
      addItem(view, copy, "", 4);
      copy.copyWithin(32 + 5 * 32, 32, 48);
    }),
  ],
  ["no size", "bad_field", metadata((view) => view.setUint8(64, 0))],
  ["an item outside of its region", "bad_field", metadata((view) => view.setUint32(80, MiB - 4, true))],
  ["an item within the table", "bad_field", metadata((view) => view.setUint32(80, 64, true))],
  ["blocks of odd size", "bad_field", metadata((view) => view.setUint32(65_536, 3 * MiB, true))],
  ["blocks of 512 MiB", "bad_field", metadata((view) => view.setUint32(65_536, 512 * MiB, true))],
  ["blocks of nothing", "bad_field", metadata((view) => view.setUint32(65_536, 0, true))],
  ["sectors of 4096 bytes", "unsupported_kind", metadata((view) => view.setUint32(65_568, 4096, true))],
  ["a size of odd bytes", "bad_field", metadata((view) => view.setBigUint64(65_544, 1001n, true))],
  ["a size above the limit", "too_big", metadata((view) => view.setBigUint64(65_544, 1n << 47n, true))],
  ["a block table too small for the size", "bad_field", metadata((view) => view.setBigUint64(65_544, 1n << 45n, true))],
  ["a block behind the end", "truncated", () => edited(plain, (view) => view.setBigUint64(TABLE, (1n << 30n) | 6n, true))],
  ["a file that ends in its identifier", "truncated", () => plain.slice(0, 300)],
  ["a file that ends in its headers", "corrupt", () => plain.slice(0, 64 * KiB)],
  ["a file that ends before its metadata", "truncated", () => plain.slice(0, METADATA)],
  ["a file that ends before its last block", "truncated", () => plain.slice(0, -MiB)],
];

describe("readVhdx() refuses", () => {
  for (const [name, rule, image] of refused) {
    it(`${name}: ${rule}`, () => {
      const { format, problems } = inspect(image());
      assert.equal(format, "vhdx");
      assert.ok(
        problems.some((problem) => problem.rule === rule),
        JSON.stringify(problems),
      );
    });
  }
});

/** A copy with the CRC-32C of the structure at `start` mended. */
function summed(bytes: Uint8Array, start: number, lengthBytes: number): Uint8Array {
  return edited(bytes, (view, copy) => {
    view.setUint32(start + 4, 0);
    view.setUint32(start + 4, crc32c(copy.subarray(start, start + lengthBytes)), true);
  });
}

/** A third region of 1 MiB behind the others. */
function addRegion(view: DataView, required: number): void {
  view.setUint32(8, 3, true);
  view.setUint32(80, 0x11223344);
  view.setBigUint64(96, BigInt(4 * MiB), true);
  view.setUint32(104, MiB, true);
  view.setUint32(108, required, true);
}

function withRegion(required: number): Uint8Array {
  return regions((view) => addRegion(view, required));
}

function addItem(view: DataView, copy: Uint8Array, guid: string, flags: number): void {
  const at = 32 + view.getUint16(10, true) * 32;
  view.setUint16(10, view.getUint16(10, true) + 1, true);
  copy.set(Buffer.from(guid, "hex"), at);
  view.setUint32(at + 16, 70_000, true);
  view.setUint32(at + 20, 8, true);
  view.setUint32(at + 24, flags, true);
}

/** The metadata where the block table was, and the other way round. */
function swapped(): Uint8Array {
  const moved = edited(plain, (_, copy) => {
    copy.set(plain.subarray(METADATA, METADATA + MiB), TABLE);
    copy.set(plain.subarray(TABLE, TABLE + MiB), METADATA);
  });
  return regions((view) => {
    view.setBigUint64(32, BigInt(METADATA), true);
    view.setBigUint64(64, BigInt(TABLE), true);
  }, moved);
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { converted, created, edited, GUEST_BYTES, inspect } from "../../test/support/disk-images.ts";

const plain = converted("vdi");

const accepted: readonly [name: string, image: () => Uint8Array, virtualSizeBytes: number][] = [
  ["a dynamic disk", () => plain, GUEST_BYTES],
  ["a fixed disk", () => converted("vdi", ["static=on"]), GUEST_BYTES],
  ["an empty disk of 40 GiB", () => created("vdi", [], "40G"), 40 * GiB],
  ["discarded blocks", () => edited(plain, (view) => view.setUint32(512 + 8, 0xfffffffe, true)), GUEST_BYTES],
  [
    "a size of odd bytes as QEMU does: up to the next sector",
    () => edited(plain, (view) => view.setBigUint64(368, BigInt(GUEST_BYTES - 511), true)),
    GUEST_BYTES,
  ],
];

describe("readVdi() takes", () => {
  for (const [name, image, virtualSizeBytes] of accepted) {
    it(name, () => {
      const bytes = image();
      assert.deepEqual(inspect(bytes), { format: "vdi", sizeBytes: bytes.length, virtualSizeBytes, problems: [] });
    });
  }
});

const changed = (change: (view: DataView) => void) => () => edited(plain, change);

const refused: readonly [name: string, rule: string, image: () => Uint8Array][] = [
  ["a link to another disk", "parent", changed((view) => view.setUint8(424, 1))],
  ["a parent disk", "parent", changed((view) => view.setUint8(455, 1))],
  ["an undo image", "parent", changed((view) => view.setUint32(76, 3, true))],
  ["a differencing image", "parent", changed((view) => view.setUint32(76, 4, true))],
  ["version 1.0", "unsupported_kind", changed((view) => view.setUint32(68, 0x00010000, true))],
  ["sectors of 4096 bytes", "unsupported_kind", changed((view) => view.setUint32(360, 4096, true))],
  ["blocks of 2 MiB", "unsupported_kind", changed((view) => view.setUint32(376, 2 * MiB, true))],
  ["a map within the header", "bad_field", changed((view) => view.setUint32(340, 0, true))],
  ["a map between sectors", "bad_field", changed((view) => view.setUint32(340, 700, true))],
  ["data between sectors", "bad_field", changed((view) => view.setUint32(344, 700, true))],
  ["fewer blocks than its size", "bad_field", changed((view) => view.setUint32(384, 2, true))],
  ["too many blocks", "bad_field", changed((view) => view.setUint32(384, 0x40000000, true))],
  ["more blocks in use than there are", "bad_field", changed((view) => view.setUint32(388, 4, true))],
  ["a block that no disk has", "bad_field", changed((view) => view.setUint32(512, 3, true))],
  ["a block behind the end", "truncated", changed((view) => view.setUint32(512, 2, true))],
  ["a map behind the end", "truncated", changed((view) => view.setUint32(340, GiB, true))],
  [
    "a size above the limit",
    "too_big",
    changed((view) => {
      view.setUint32(384, 0x3fffffff, true);
      view.setBigUint64(368, 1n << 47n, true);
    }),
  ],
  ["a file that ends in its header", "truncated", () => plain.slice(0, 100)],
  ["a file that ends in its map", "truncated", () => plain.slice(0, 516)],
  ["a file that ends before its last block", "truncated", () => plain.slice(0, -KiB)],
];

describe("readVdi() refuses", () => {
  for (const [name, rule, image] of refused) {
    it(`${name}: ${rule}`, () => {
      const { format, problems } = inspect(image());
      assert.equal(format, "vdi");
      assert.ok(
        problems.some((problem) => problem.rule === rule),
        JSON.stringify(problems),
      );
    });
  }
});

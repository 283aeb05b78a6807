import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB, MiB } from "#/lib/units.ts";
import { converted, created, edited, GUEST_BYTES, inspect, putText, stored } from "../../test/support/disk-images.ts";

const dynamic = converted("vpc", ["force_size=on"]);
const fixed = converted("vpc", ["subformat=fixed,force_size=on"]);
/** The nearest geometry to 3 MiB: 91 cylinders of 4 heads and 17 sectors. */
const GEOMETRY_BYTES = 91 * 4 * 17 * 512;

const accepted: readonly [name: string, image: () => Uint8Array, virtualSizeBytes: number][] = [
  ["a dynamic disk whose size counts", () => dynamic, GUEST_BYTES],
  ["a dynamic disk whose geometry counts", () => converted("vpc"), GEOMETRY_BYTES],
  ["a fixed disk whose size counts", () => fixed, GUEST_BYTES],
  ["a fixed disk whose geometry counts", () => converted("vpc", ["subformat=fixed"]), GEOMETRY_BYTES],
  ["an empty dynamic disk of 40 GiB", () => created("vpc", ["-o", "force_size=on"], "40G"), 40 * GiB],
  [
    "a fixed disk with partitions",
    () =>
      summed(
        edited(fixed, (_, copy) => {
          copy.set([0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0], 446);
          copy.set([0x55, 0xaa], 510);
        }),
        fixed.length - 512,
      ),
    GUEST_BYTES,
  ],
];

describe("readVhd() takes", () => {
  for (const [name, image, virtualSizeBytes] of accepted) {
    it(name, () => {
      const bytes = image();
      assert.deepEqual(inspect(bytes), { format: "vhd", sizeBytes: bytes.length, virtualSizeBytes, problems: [] });
    });
  }
});

type Change = (view: DataView, copy: Uint8Array) => void;

/** Changes both footers of the dynamic disk, and mends their checksums. */
const footers = (change: Change) => () => {
  const first = edited(dynamic, change);
  const both = edited(first, (_, copy) => copy.copyWithin(copy.length - 512, 0, 512));
  return summed(summed(both, 0), both.length - 512);
};
const header = (change: Change) => () =>
  summed(
    edited(dynamic, (view) => change(new DataView(view.buffer, 512), new Uint8Array(view.buffer, 512))),
    512,
    1024,
    36,
  );
const lastFooter = (change: Change) => () =>
  summed(
    edited(dynamic, (view) => change(new DataView(view.buffer, dynamic.length - 512), new Uint8Array(view.buffer, dynamic.length - 512))),
    dynamic.length - 512,
  );
const fixedFooter = (change: Change) => () =>
  summed(
    edited(fixed, (view) => change(new DataView(view.buffer, GUEST_BYTES), new Uint8Array(view.buffer, GUEST_BYTES))),
    GUEST_BYTES,
  );

const refused: readonly [name: string, rule: string, image: () => Uint8Array][] = [
  ["a differencing disk", "parent", footers((view) => view.setUint32(60, 4))],
  ["a differencing footer at the end of a disk", "parent", fixedFooter((view) => view.setUint32(60, 4))],
  ["a parent's id", "parent", header((view) => view.setUint8(40, 1))],
  ["a parent's name", "parent", header((_, copy) => putText(copy, 64, "\0C\0:"))],
  ["a parent locator", "parent", header((_, copy) => putText(copy, 576, "W2ku"))],
  ["a type that is reserved", "unsupported_kind", footers((view) => view.setUint32(60, 6))],
  ["a fixed disk that begins like a dynamic one", "unsupported_kind", footers((view) => view.setUint32(60, 2))],
  ["a dynamic type behind a fixed disk", "unsupported_kind", fixedFooter((view) => view.setUint32(60, 3))],
  ["version 2", "unsupported_kind", footers((view) => view.setUint32(12, 0x00020000))],
  ["a wrong checksum of the first footer", "corrupt", () => edited(dynamic, (view) => view.setUint32(64, 1))],
  ["a wrong checksum of the last footer", "bad_field", () => edited(dynamic, (view) => view.setUint32(dynamic.length - 512 + 64, 1))],
  ["a wrong checksum of a fixed disk", "corrupt", () => edited(fixed, (view) => view.setUint32(GUEST_BYTES + 64, 1))],
  ["a wrong checksum of the header", "corrupt", () => edited(dynamic, (view) => view.setUint32(512 + 36, 1))],
  ["a header far away", "bad_field", footers((view) => view.setBigUint64(16, 1n << 40n))],
  ["a header within the footer", "bad_field", footers((view) => view.setBigUint64(16, 0n))],
  ["a header that is none", "bad_field", header((_, copy) => putText(copy, 0, "parallel"))],
  ["another version of the header", "unsupported_kind", header((view) => view.setUint32(24, 1))],
  ["blocks of odd size", "bad_field", header((view) => view.setUint32(32, 3 * MiB))],
  ["blocks of nothing", "bad_field", header((view) => view.setUint32(32, 0))],
  ["blocks of 2 GiB", "bad_field", header((view) => view.setUint32(32, 2 * GiB))],
  ["too few blocks", "bad_field", header((view) => view.setUint32(28, 1))],
  ["too many blocks", "bad_field", header((view) => view.setUint32(28, 0x7fffffff))],
  ["a block table behind the end", "truncated", header((view) => view.setBigUint64(16, BigInt(GiB)))],
  ["a block behind the end", "truncated", () => edited(dynamic, (view) => view.setUint32(1536, 0x10000))],
  ["a size above the format's limit", "too_big", footers((view) => view.setBigUint64(48, 1n << 42n))],
  ["a geometry larger than the size", "bad_field", footers((view) => setGeometry(view, 92))],
  ["a geometry much smaller than the size", "bad_field", footers((view) => setGeometry(view, 1))],
  ["footers of two sizes", "bad_field", lastFooter((view) => view.setBigUint64(48, BigInt(GUEST_BYTES - 512)))],
  ["footers of two disks", "bad_field", lastFooter((view) => view.setUint8(70, view.getUint8(70) ^ 1))],
  ["a fixed disk of another size", "truncated", fixedFooter((view) => view.setBigUint64(48, BigInt(GUEST_BYTES + 512)))],
  ["a fixed disk cut in front", "truncated", () => fixed.slice(512)],
  ["a dynamic disk without its footer", "truncated", () => dynamic.slice(0, -512)],
  ["a dynamic disk that ends in its header", "truncated", () => dynamic.slice(0, 300)],
  [
    "partitions in a dynamic disk's footer",
    "polyglot",
    footers((_, copy) => {
      copy.set([0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0], 446);
      copy.set([0x55, 0xaa], 510);
    }),
  ],
];

describe("readVhd() refuses", () => {
  for (const [name, rule, image] of refused) {
    it(`${name}: ${rule}`, () => {
      const { format, problems } = inspect(image());
      assert.equal(format, "vhd");
      assert.ok(
        problems.some((problem) => problem.rule === rule),
        JSON.stringify(problems),
      );
    });
  }

  it("a differencing disk of qemu-img's format, which cannot be made there, by its type alone", () => {
    assert.throws(() => created("vpc", ["-b", stored(dynamic), "-F", "vpc"]));
  });
});

/** As of a writer whose geometry counts: 4 heads and 17 sectors. */
function setGeometry(view: DataView, cylinders: number): void {
  view.setUint32(28, 0);
  view.setUint16(56, cylinders);
  view.setUint16(58, 0x0411);
}

/** A copy with the checksum of the structure at `start` mended. */
function summed(bytes: Uint8Array, start: number, lengthBytes = 512, at = 64): Uint8Array {
  return edited(bytes, (view, copy) => {
    view.setUint32(start + at, 0);
    const sum = copy.subarray(start, start + lengthBytes).reduce((total, byte) => total + byte, 0);
    view.setUint32(start + at, ~sum >>> 0);
  });
}

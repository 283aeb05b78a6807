import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { converted, created, edited, GUEST_BYTES, inspect, rulesOf, stored, worked } from "../../test/support/disk-images.ts";

const plain = converted("qcow2");
const LUKS = ["--object", "secret,id=key,data=0123456789", "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"];

const accepted: readonly [name: string, image: () => Uint8Array, virtualSizeBytes: number][] = [
  ["version 3", () => plain, GUEST_BYTES],
  ["version 2", () => converted("qcow2", ["compat=0.10"]), GUEST_BYTES],
  ["compressed by zlib", () => converted("qcow2", [], ["-c"]), GUEST_BYTES],
  ["compressed by zstd", () => converted("qcow2", ["compression_type=zstd"], ["-c"]), GUEST_BYTES],
  ["extended L2 entries", () => converted("qcow2", ["extended_l2=on"]), GUEST_BYTES],
  ["clusters of 512 bytes", () => converted("qcow2", ["cluster_size=512"]), GUEST_BYTES],
  ["clusters of 2 MiB", () => converted("qcow2", ["cluster_size=2M"]), GUEST_BYTES],
  ["preallocated metadata", () => converted("qcow2", ["preallocation=metadata"]), GUEST_BYTES],
  ["lazy refcounts", () => converted("qcow2", ["lazy_refcounts=on"]), GUEST_BYTES],
  ["refcounts of 64 bits", () => converted("qcow2", ["refcount_bits=64"]), GUEST_BYTES],
  ["an empty disk", () => created("qcow2", [], "0"), 0],
  ["a thin disk of 40 GiB", () => created("qcow2", [], "40G"), 40 * GiB],
  ["a thin disk of the largest size", () => created("qcow2", [], "64T"), 64 * 1024 * GiB],
  ["internal snapshots", () => worked(plain, "snapshot", "-c", "before", "PATH"), GUEST_BYTES],
  ["persistent bitmaps", () => worked(plain, "bitmap", "--add", "PATH", "changes"), GUEST_BYTES],
  ["a dirty bit", () => edited(plain, (view) => view.setUint8(79, 1)), GUEST_BYTES],
  ["unknown autoclear features", () => edited(plain, (view) => view.setUint8(88, 0x80)), GUEST_BYTES],
];

describe("readQcow2() takes", () => {
  for (const [name, image, virtualSizeBytes] of accepted) {
    it(name, () => {
      const bytes = image();
      assert.deepEqual(inspect(bytes), { format: "qcow2", sizeBytes: bytes.length, virtualSizeBytes, problems: [] });
    });
  }

  it("a size that is no whole number of sectors as QEMU does: without the rest", () => {
    assert.equal(inspect(edited(plain, (view) => view.setBigUint64(24, BigInt(GUEST_BYTES - 1)))).virtualSizeBytes, GUEST_BYTES - 512);
  });
});

const refused: readonly [name: string, rule: string, image: () => Uint8Array][] = [
  ["a backing file", "backing_file", () => created("qcow2", ["-b", stored(plain), "-F", "qcow2"])],
  ["a backing file in version 2", "backing_file", () => created("qcow2", ["-o", "compat=0.10", "-b", stored(plain), "-F", "qcow2"])],
  ["a backing file offset without a name", "backing_file", () => edited(plain, (view) => view.setBigUint64(8, 1n))],
  ["a data file", "data_file", () => created("qcow2", ["-o", `data_file=${stored(new Uint8Array())}`], "1M")],
  ["a data file bit alone", "data_file", () => edited(plain, (view) => view.setUint8(79, 1 << 2))],
  ["a raw data file bit alone", "data_file", () => edited(plain, (view) => view.setUint8(95, 1 << 1))],
  ["a data file name alone", "data_file", () => edited(plain, (view) => addExtension(view, 0x44415441, 8))],
  [
    "a data file name in version 2",
    "data_file",
    () => edited(converted("qcow2", ["compat=0.10"]), (view) => addExtension(view, 0x44415441, 8)),
  ],
  ["a data file name behind other extensions", "data_file", () => edited(plain, (view) => view.setUint32(lastExtension(view), 0x44415441))],
  [
    "a data file name at the very end of the header",
    "data_file",
    () =>
      edited(plain, (view) => {
        addExtension(view, 0x1234, 64 * KiB - 112 - 8 - 8);
        view.setUint32(64 * KiB - 8, 0x44415441);
      }),
  ],
  ["encryption by LUKS", "encrypted", () => created("qcow2", LUKS, "1M")],
  ["encryption by AES", "encrypted", () => edited(plain, (view) => view.setUint32(32, 1))],
  ["an encryption header alone", "encrypted", () => edited(plain, (view) => addExtension(view, 0x0537be77, 16))],
  ["the corrupt bit", "corrupt", () => edited(plain, (view) => view.setUint8(79, 1 << 1))],
  ["an unknown incompatible feature", "unknown_feature", () => edited(plain, (view) => view.setUint8(79, 1 << 5))],
  ["the last incompatible feature", "unknown_feature", () => edited(plain, (view) => view.setUint8(72, 0x80))],
  [
    "an unknown compression",
    "unknown_feature",
    () =>
      edited(plain, (view) => {
        view.setUint8(79, 1 << 3);
        view.setUint8(104, 2);
      }),
  ],
  ["a compression without its bit", "unknown_feature", () => edited(plain, (view) => view.setUint8(104, 1))],
  ["version 1", "unsupported_kind", () => edited(plain, (view) => view.setUint32(4, 1))],
  ["version 4", "unsupported_kind", () => edited(plain, (view) => view.setUint32(4, 4))],
  ["clusters of 256 bytes", "bad_field", () => edited(plain, (view) => view.setUint32(20, 8))],
  ["clusters of 4 MiB", "bad_field", () => edited(plain, (view) => view.setUint32(20, 22))],
  ["a shift that no integer has", "bad_field", () => edited(plain, (view) => view.setUint32(20, 0xffffffff))],
  [
    "small clusters with extended L2 entries",
    "bad_field",
    () => edited(converted("qcow2", ["cluster_size=8k"]), (view) => view.setUint8(79, 1 << 4)),
  ],
  ["a short header", "bad_field", () => edited(plain, (view) => view.setUint32(100, 96))],
  ["a header of odd length", "bad_field", () => edited(plain, (view) => view.setUint32(100, 109))],
  ["a header longer than its cluster", "bad_field", () => edited(plain, (view) => view.setUint32(100, 64 * KiB + 8))],
  ["refcounts of 128 bits", "bad_field", () => edited(plain, (view) => view.setUint32(96, 7))],
  ["a size above the limit", "too_big", () => edited(plain, (view) => view.setBigUint64(24, 1n << 47n))],
  ["the largest number as its size", "too_big", () => edited(plain, (view) => view.setBigUint64(24, (1n << 64n) - 1n))],
  ["an L1 table too small for the size", "bad_field", () => edited(plain, (view) => view.setBigUint64(24, BigInt(GiB)))],
  ["an L1 table above QEMU's limit", "bad_field", () => edited(plain, (view) => view.setUint32(36, 32 * MiB))],
  ["an L1 table between clusters", "bad_field", () => edited(plain, (view) => view.setBigUint64(40, 512n))],
  ["an L1 table nowhere", "bad_field", () => edited(plain, (view) => view.setBigUint64(40, 0n))],
  ["an L1 table behind the end", "truncated", () => edited(plain, (view) => view.setBigUint64(40, BigInt(GiB)))],
  ["an L2 table behind the end", "truncated", () => edited(plain, (view) => view.setBigUint64(Number(view.getBigUint64(40)), BigInt(GiB)))],
  ["an L2 table between clusters", "bad_field", () => edited(plain, (view) => view.setBigUint64(Number(view.getBigUint64(40)), 0x10200n))],
  ["a refcount table between clusters", "bad_field", () => edited(plain, (view) => view.setBigUint64(48, 0x10001n))],
  ["a refcount table behind the end", "truncated", () => edited(plain, (view) => view.setBigUint64(48, BigInt(GiB)))],
  ["no refcount table", "bad_field", () => edited(plain, (view) => view.setUint32(56, 0))],
  ["a refcount table above QEMU's limit", "bad_field", () => edited(plain, (view) => view.setUint32(56, 129))],
  [
    "too many snapshots",
    "bad_field",
    () =>
      edited(plain, (view) => {
        view.setUint32(60, 65_537);
        view.setBigUint64(64, 65_536n);
      }),
  ],
  [
    "snapshots between clusters",
    "bad_field",
    () =>
      edited(plain, (view) => {
        view.setUint32(60, 1);
        view.setBigUint64(64, 512n);
      }),
  ],
  ["no snapshots, between clusters", "bad_field", () => edited(plain, (view) => view.setBigUint64(64, 512n))],
  ["no snapshots, at the largest number", "truncated", () => edited(plain, (view) => view.setBigUint64(64, (1n << 64n) - 1n))],
  [
    "snapshots behind the end",
    "truncated",
    () =>
      edited(plain, (view) => {
        view.setUint32(60, 1);
        view.setBigUint64(64, BigInt(GiB));
      }),
  ],
  [
    "a bitmap directory behind the end",
    "truncated",
    () =>
      edited(plain, (view) => {
        addExtension(view, 0x23852875, 24);
        view.setBigUint64(128, BigInt(GiB));
      }),
  ],
  ["a bitmaps extension of another length", "bad_field", () => edited(plain, (view) => addExtension(view, 0x23852875, 16))],
  ["an end of extensions longer than the header", "bad_field", () => edited(plain, (view) => addExtension(view, 0, 0xffffffff))],
  ["an extension longer than the header", "bad_field", () => edited(plain, (view) => addExtension(view, 0x1234, 0xffffffff))],
  [
    "endless extensions",
    "bad_field",
    () =>
      edited(plain, (view) => {
        for (let at = 112; at < 64 * KiB; at += 8) view.setBigUint64(at, 0x1234_0000_0000n);
      }),
  ],
  ["a file that ends in its header", "truncated", () => plain.slice(0, 90)],
  ["a file that is its magic only", "truncated", () => plain.slice(0, 4)],
  ["a file that ends before its tables", "truncated", () => plain.slice(0, 128 * KiB)],
  ["a file that ends before its last L2 table", "truncated", () => plain.slice(0, 192 * KiB + 512)],
  ["a partition table in the header", "polyglot", () => edited(plain, (view) => addPartition(view))],
];

describe("readQcow2() refuses", () => {
  for (const [name, rule, image] of refused) {
    it(`${name}: ${rule}`, () => {
      const { format, problems } = inspect(image());
      assert.equal(format, "qcow2");
      assert.ok(
        problems.some((problem) => problem.rule === rule),
        JSON.stringify(problems),
      );
    });
  }

  for (const clusterBits of [0, 8, 22, 31, 64]) {
    it(`clusters of 2^${clusterBits} bytes for themselves, and reads no further`, () => {
      const { problems } = inspect(edited(plain, (view) => view.setUint32(20, clusterBits)));
      assert.deepEqual(problems, [
        {
          rule: "bad_field",
          format: "qcow2",
          message: `The qcow2 header has cluster_bits ${clusterBits}, and it must be 9 to 21: make the image again.`,
        },
      ]);
    });
  }

  it("an unmarked change of the first word only as raw", () => {
    assert.deepEqual(rulesOf(edited(plain, (view) => view.setUint8(0, 0))), []);
  });
});

function addExtension(view: DataView, type: number, lengthBytes: number): void {
  const at = view.getUint32(4) === 2 ? 72 : view.getUint32(100);
  view.setUint32(at, type);
  view.setUint32(at + 4, lengthBytes);
  for (let zero = at + 8; zero < at + 128; zero++) view.setUint8(zero, 0);
}

/** Where the header extensions end. */
function lastExtension(view: DataView): number {
  let at = view.getUint32(100);
  while (view.getUint32(at) !== 0) at += 8 + Math.ceil(view.getUint32(at + 4) / 8) * 8;
  return at;
}

function addPartition(view: DataView): void {
  for (let at = 446; at < 510; at++) view.setUint8(at, 0);
  view.setUint8(450, 0x83);
  view.setUint32(454, 2048, true);
  view.setUint32(458, 4096, true);
  view.setUint16(510, 0x55aa);
}

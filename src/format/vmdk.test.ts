import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB } from "#/lib/units.ts";
import { converted, created, edited, GUEST_BYTES, inspect, putText, stored, withVmdkFooter } from "../../test/support/disk-images.ts";

const sparse = converted("vmdk");
const stream = converted("vmdk", ["subformat=streamOptimized"]);
/** The same with its grain directory announced by a footer, as VirtualBox and VMware write it. */
const footed = withVmdkFooter(stream);
const SECTORS = GUEST_BYTES / 512;
const VIRTUALBOX = `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n
# Extent description\nRDONLY ${SECTORS} SPARSE "box disk (1).vmdk"\n\n# The disk Data Base\n#DDB\n\nddb.virtualHWVersion = "4"\nddb.uuid.image="a b"\n`;

const accepted: readonly [name: string, image: () => Uint8Array, virtualSizeBytes?: number][] = [
  ["monolithicSparse", () => sparse],
  ["streamOptimized", () => stream],
  ["streamOptimized with a footer", () => footed],
  ["what QEMU leaves behind the descriptor when a CID becomes shorter", () => withShorterCid(sparse)],
  ["a zeroed-grain table", () => converted("vmdk", ["zeroed_grain=on"])],
  ["another adapter and hardware version", () => converted("vmdk", ["adapter_type=lsilogic,hwversion=6"])],
  ["an empty disk of 40 GiB", () => created("vmdk", [], "40G"), 40 * GiB],
  ["the descriptor that VirtualBox writes", () => described(stream, VIRTUALBOX)],
  ["lines ended as in Windows", () => described(stream, VIRTUALBOX.replaceAll("\n", "\r\n"))],
];

describe("readVmdk() takes", () => {
  for (const [name, image, virtualSizeBytes = GUEST_BYTES] of accepted) {
    it(name, () => {
      const bytes = image();
      assert.deepEqual(inspect(bytes), { format: "vmdk", sizeBytes: bytes.length, virtualSizeBytes, problems: [] });
    });
  }
});

const withLine = (line: string) => () => described(sparse, textOf(sparse).replace("# Extent", `${line}\n# Extent`));
const withExtent = (line: string) => () => described(sparse, textOf(sparse).replace(/^RW.*$/m, line));
const withType = (type: string) => () => described(sparse, textOf(sparse).replace("monolithicSparse", type));
const header = (change: (view: DataView, copy: Uint8Array) => void) => () => edited(sparse, change);
const footer = (change: (view: DataView, copy: Uint8Array) => void) => () =>
  edited(footed, (view, copy) => change(new DataView(view.buffer, copy.length - 1536), copy));

const refused: readonly [name: string, rule: string, image: () => Uint8Array][] = [
  ["a descriptor that stands alone", "outside_extent", () => created("vmdk", ["-o", "subformat=monolithicFlat"], "1M")],
  [
    "a descriptor without VMware's first line",
    "outside_extent",
    () => Buffer.from('# hello\r\n  \nversion=3\r\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n'),
  ],
  ["twoGbMaxExtentSparse", "outside_extent", () => created("vmdk", ["-o", "subformat=twoGbMaxExtentSparse"], "1M")],
  ["a backing file of qemu-img's", "parent", () => created("vmdk", ["-b", stored(sparse), "-F", "vmdk"])],
  ["a parent's name", "parent", withLine('parentFileNameHint="/etc/passwd"')],
  ["a parent's name in a comment, where QEMU finds it", "parent", withLine('# parentFileNameHint="/etc/passwd"')],
  ["a parent's CID", "parent", () => described(sparse, textOf(sparse).replace("parentCID=ffffffff", "parentCID=fffffffe"))],
  ["a second parent's CID", "parent", withLine("#parentCID=12345678")],
  ["a capacity of 0, by which QEMU opens the extents by name", "outside_extent", header((view) => view.setBigUint64(12, 0n, true))],
  ["a flat extent", "outside_extent", withExtent(`RW ${SECTORS} FLAT "flat.vmdk" 0`)],
  ["an absolute name", "outside_extent", withExtent(`RW ${SECTORS} SPARSE "/dev/sda"`)],
  ["a Windows name", "outside_extent", withExtent(`RW ${SECTORS} SPARSE "C:\\disk.vmdk"`)],
  ["a name with a protocol", "outside_extent", withExtent(`RW ${SECTORS} SPARSE "nbd:localhost"`)],
  ["a device", "outside_extent", withExtent(`RW ${SECTORS} VMFSRDM "disk-rdm.vmdk"`)],
  ["no access", "outside_extent", withExtent(`NOACCESS ${SECTORS} SPARSE "disk.vmdk"`)],
  ["two extents", "outside_extent", withExtent(`RW ${SECTORS} SPARSE "a.vmdk"\nRW ${SECTORS} SPARSE "b.vmdk"`)],
  ["no extent", "outside_extent", withExtent("")],
  ["a change tracking file", "outside_extent", withLine('changeTrackPath="disk-ctk.vmdk"')],
  ["an extent of another size", "bad_field", withExtent(`RW ${SECTORS + 1000} SPARSE "disk.vmdk"`)],
  ["a line that means nothing", "bad_field", withLine("hello world")],
  ["createType twice", "bad_field", withLine('createType="monolithicFlat"')],
  ["a control character", "bad_field", withLine("ddb.x=\x1b[2J")],
  ["bytes behind the descriptor's end", "bad_field", header((_, copy) => putText(copy, 512 + 5000, "RW 8"))],
  [
    "a byte 8 behind the descriptor's end, which no shorter CID leaves",
    "bad_field",
    header((_, copy) => {
      copy[512 + textOf(sparse).length + 8] = 0x52;
    }),
  ],
  [
    "bytes behind a descriptor that is shorter than QEMU's search",
    "bad_field",
    header((view, copy) => {
      view.setBigUint64(36, 1n, true);
      copy.fill(0x20, 512 + textOf(sparse).length, 1024 + 512);
    }),
  ],
  ["monolithicFlat", "unsupported_kind", withType("monolithicFlat")],
  ["vmfs", "unsupported_kind", withType("vmfs")],
  ["seSparse", "unsupported_kind", withType("seSparse")],
  ["vmfsSparse", "unsupported_kind", header((_, copy) => putText(copy, 0, "COWD"))],
  ["version 4", "unsupported_kind", header((view) => view.setUint32(4, 4, true))],
  ["version 0", "unsupported_kind", header((view) => view.setUint32(4, 0, true))],
  [
    "a size above the limit",
    "too_big",
    header((view) => {
      view.setBigUint64(12, 1n << 38n, true);
      view.setBigUint64(20, 1n << 20n, true);
    }),
  ],
  ["grains of odd size", "bad_field", header((view) => view.setBigUint64(20, 100n, true))],
  ["grains of nothing", "bad_field", header((view) => view.setBigUint64(20, 0n, true))],
  ["grains above QEMU's limit", "bad_field", header((view) => view.setBigUint64(20, 0x400000n, true))],
  ["grain tables of nothing", "bad_field", header((view) => view.setUint32(44, 0, true))],
  ["grain tables above QEMU's limit", "bad_field", header((view) => view.setUint32(44, 513, true))],
  ["a grain directory above QEMU's limit", "bad_field", header((view) => view.setBigUint64(12, 1n << 62n, true))],
  ["an unknown compression", "unknown_feature", header((view) => view.setUint16(77, 2, true))],
  ["a transfer as text", "corrupt", header((view) => view.setUint8(75, 0x0a))],
  ["a descriptor in another place", "bad_field", header((view) => view.setBigUint64(28, 2n, true))],
  ["a descriptor far away", "bad_field", header((view) => view.setBigUint64(28, (1n << 63n) + 1n, true))],
  ["no descriptor", "bad_field", header((view) => view.setBigUint64(36, 0n, true))],
  ["a descriptor without end", "bad_field", header((view) => view.setBigUint64(36, (1n << 63n) - 1n, true))],
  ["a grain directory behind the end", "truncated", header((view) => view.setBigUint64(56, BigInt(GiB), true))],
  ["a second grain directory behind the end", "truncated", header((view) => view.setBigUint64(48, BigInt(GiB), true))],
  ["a grain table behind the end", "truncated", header((view) => view.setUint32(Number(view.getBigUint64(56, true)) * 512, GiB, true))],
  ["data behind the end", "truncated", header((view) => view.setBigUint64(64, BigInt(GiB), true))],
  ["a file that ends in its header", "truncated", () => sparse.slice(0, 100)],
  ["a file that ends before its tables", "truncated", () => sparse.slice(0, 64 * 512)],
  ["a stream without its footer", "truncated", () => footed.slice(0, -512)],
  ["a stream of half a sector", "truncated", () => footed.slice(0, -100)],
  ["a footer that is none", "truncated", footer((view) => view.setUint32(512, 0))],
  ["a footer without its marker", "truncated", footer((view) => view.setUint32(12, 2, true))],
  ["a stream that goes on", "truncated", footer((view) => view.setUint32(1024, 1))],
  ["a footer of another size", "bad_field", footer((view) => view.setBigUint64(512 + 12, 1n, true))],
  ["a footer that says its directory is behind it", "bad_field", footer((view) => view.setBigUint64(512 + 56, (1n << 64n) - 1n, true))],
  ["a footer whose directory is behind the end", "truncated", footer((view) => view.setBigUint64(512 + 56, BigInt(GiB), true))],
];

describe("readVmdk() refuses", () => {
  for (const [name, rule, image] of refused) {
    it(`${name}: ${rule}`, () => {
      const { format, problems } = inspect(image());
      assert.equal(format, "vmdk");
      assert.ok(
        problems.some((problem) => problem.rule === rule),
        JSON.stringify(problems),
      );
    });
  }

  it("a hostile name in words that a terminal can show", () => {
    const { problems } = inspect(withExtent(`RW ${SECTORS} SPARSE "/\x9b2J${"x".repeat(500)}"`)());
    assert.match(problems[0]?.message ?? "", /^[\x20-\x7e]{1,300}$/);
  });
});

function textOf(image: Uint8Array): string {
  const text = Buffer.from(image.subarray(512, 512 + 20 * 512)).toString("latin1");
  return text.slice(0, text.indexOf("\0"));
}

/** As QEMU's vmdk_write_cid leaves it: the new text and its end, and the last bytes of the old text behind that. */
function withShorterCid(image: Uint8Array): Uint8Array {
  const old = textOf(image).replace(/^CID=.*$/m, "CID=12345678");
  return edited(described(image, old), (_, copy) => putText(copy, 512, `${old.replace("CID=12345678", "CID=1")}\0`));
}

function described(image: Uint8Array, text: string): Uint8Array {
  return edited(image, (_, copy) => {
    copy.fill(0, 512, 512 + 20 * 512);
    putText(copy, 512, text);
  });
}

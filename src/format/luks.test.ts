import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import { created, edited, inspect, putText, rulesOf } from "../../test/support/disk-images.ts";

const version1 = created("luks", ["--object", "secret,id=key,data=0123456789", "-o", "key-secret=key,iter-time=10"], "1M");
/** The start of a LUKS2 disk as cryptsetup lays it out: two headers of 16 KiB, and the data from 16 MiB on. */
const version2 = edited(new Uint8Array(17 * MiB), (view, copy) => {
  putText(copy, 0, "LUKS\xba\xbe\0\x02");
  view.setBigUint64(8, BigInt(16 * KiB));
  putText(copy, 16 * KiB, "SKUL\xba\xbe\0\x02");
});

describe("readLuks()", () => {
  it("takes version 1, whose size is that of the whole file", () => {
    assert.deepEqual(inspect(version1), { format: "luks", sizeBytes: version1.length, virtualSizeBytes: version1.length, problems: [] });
  });

  it("takes version 2", () => {
    assert.deepEqual(inspect(version2), { format: "luks", sizeBytes: version2.length, virtualSizeBytes: version2.length, problems: [] });
  });

  const refused: readonly [name: string, rule: string, bytes: Uint8Array][] = [
    ["version 3", "unsupported_kind", edited(version1, (view) => view.setUint16(6, 3))],
    ["a header without its data", "outside_extent", edited(version1, (view) => view.setUint32(104, 0))],
    ["data behind the end", "truncated", edited(version1, (view) => view.setUint32(104, 0xffffffff))],
    ["a file that ends in its header", "truncated", version1.slice(0, 200)],
    ["a second header behind the end", "truncated", version2.slice(0, 20 * KiB)],
    ["a header of odd size", "bad_field", edited(version2, (view) => view.setBigUint64(8, 20_000n))],
    ["a header of 8 MiB", "bad_field", edited(version2, (view) => view.setBigUint64(8, BigInt(8 * MiB)))],
  ];
  for (const [name, rule, bytes] of refused) {
    it(`refuses ${name}: ${rule}`, () => assert.ok(rulesOf(bytes).includes(rule), rulesOf(bytes).join()));
  }
});

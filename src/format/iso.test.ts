import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { edited, inspect, putText, rulesOf } from "../../test/support/disk-images.ts";
import { isoImage, withGpt, withMbr } from "../../test/support/plain-disks.ts";

const PRIMARY = 16 * 2048;
const whole = { format: "iso", sizeBytes: MiB, virtualSizeBytes: MiB, problems: [] };

describe("readIso()", () => {
  it("takes an ISO 9660 image, whose size is that of the file", () => assert.deepEqual(inspect(isoImage()), whole));

  it("takes one with a boot record for disks", () => {
    assert.deepEqual(inspect(withMbr(isoImage(), { flag: 0x80, type: 0x17, startSector: 64, sectors: 1000 })), {
      ...whole,
      partitionTable: "mbr",
    });
  });

  it("takes one with a GPT", () => assert.deepEqual(inspect(withGpt(isoImage())), { ...whole, partitionTable: "gpt" }));

  it("finds the primary descriptor behind others", () => {
    assert.deepEqual(
      inspect(
        edited(isoImage(), (_, copy) => {
          copy.copyWithin(17 * 2048, PRIMARY, PRIMARY + 2048);
          copy[PRIMARY] = 0;
        }),
      ),
      whole,
    );
  });

  it("takes a UDF image", () => {
    assert.deepEqual(
      inspect(
        edited(new Uint8Array(MiB), (_, copy) => {
          putText(copy, PRIMARY + 1, "BEA01\x01");
          putText(copy, PRIMARY + 2049, "NSR03\x01");
        }),
      ),
      whole,
    );
  });

  it("takes a copy that lacks the run-out of a disc", () => assert.deepEqual(rulesOf(isoImage(MiB, MiB + 150 * 2048)), []));

  it("takes data with half of UDF's marks for raw", () => {
    assert.equal(inspect(edited(new Uint8Array(MiB), (_, copy) => putText(copy, PRIMARY + 1, "BEA01\x01"))).format, "raw");
  });

  const refused: readonly [name: string, rule: string, bytes: Uint8Array][] = [
    ["a volume larger than the file", "truncated", isoImage(MiB, 2 * MiB)],
    ["two sizes that differ", "bad_field", edited(isoImage(), (view) => view.setUint32(PRIMARY + 84, 1))],
    [
      "blocks of odd size",
      "bad_field",
      edited(isoImage(), (view) => {
        view.setUint16(PRIMARY + 128, 2047, true);
        view.setUint16(PRIMARY + 130, 2047);
      }),
    ],
    [
      "no primary descriptor",
      "bad_field",
      edited(isoImage(), (_, copy) => {
        copy[PRIMARY] = 0;
      }),
    ],
    ["a file that ends in its descriptor", "bad_field", isoImage().slice(0, PRIMARY + 100)],
  ];
  for (const [name, rule, bytes] of refused) {
    it(`refuses ${name}: ${rule}`, () => {
      const { format, problems } = inspect(bytes);
      assert.equal(format, "iso");
      assert.deepEqual(
        problems.map((problem) => problem.rule),
        [rule],
      );
    });
  }
});

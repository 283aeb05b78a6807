import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { isMapValid, mayDiffer, parseObjectMap } from "#/storage/rbd/object-map.ts";

/** As Ceph 16.2.15 keeps it of an image of 16 objects: 0 to 3 and 5 are there, 10 was written since the last snapshot. */
const MAP = Buffer.from("0e00000001010800000010000000000000 00ff3004000c000000e6b3c16e0100000000000f6ff7".replace(" ", ""), "hex");
/** Of a snapshot; its flags say that its map is not to be trusted. */
const RECORD = Buffer.from(
  "08086100000004000000000000002400000030336436353937332d656331382d343162332d613463312d6134393564313736313234320000000400000000000300000000000000",
  "hex",
);

describe("object maps", () => {
  it("are read as Ceph writes them", () => {
    const map = parseObjectMap(MAP);
    assert.equal(map.count, 16);
    const states = Array.from({ length: 20 }, (_, object) => map.stateOf(object));
    assert.deepEqual(
      states.flatMap((state, object) => (state === "nothing" ? [] : [[object, state]])),
      [...[0, 1, 2, 3, 5].map((object) => [object, "kept"]), [10, "written"]],
    );
  });

  it("of another form are refused", () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(30), MAP.subarray(0, 19)]) {
      assert.throws(() => parseObjectMap(bytes), (error) => error instanceof AppError && error.code === "not_supported");
    }
  });

  it("of a snapshot are trusted only where its flags say so", () => {
    assert.equal(isMapValid(RECORD), false);
    assert.equal(isMapValid(Buffer.from(RECORD).fill(0, 63)), true);
    assert.equal(isMapValid(RECORD.subarray(0, 40)), false);
    assert.equal(isMapValid(Buffer.from(RECORD).fill(0, 63).fill(7, 0, 1)), false);
  });

  it("tell of each object that was written, came or went", () => {
    assert.deepEqual([mayDiffer("kept", "kept"), mayDiffer("written", "kept"), mayDiffer("nothing", "nothing")], [false, false, false]);
    assert.deepEqual([mayDiffer("kept", "written"), mayDiffer("kept", "nothing"), mayDiffer("nothing", "kept"), mayDiffer("kept", "going")], [true, true, true, true]);
  });
});

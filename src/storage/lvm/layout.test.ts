import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { locationOf, parseLocation, parseVolume, volumeName } from "#/storage/lvm/layout.ts";
import type { LogicalVolume } from "#/tools/lvm.ts";

const ID = diskId("0f8fad5b-d9cb-469f-a165-70867728950e");

function volume(tags: readonly string[], name = volumeName(ID)): LogicalVolume {
  const state = { active: true, open: false, suspended: false, dataPercent: 1.5, metadataPercent: undefined, health: "" };
  return { name, sizeBytes: 4 * MiB, tags, pool: "pool", ...state };
}

describe("parseVolume()", () => {
  it("finds a whole disk, its size in its tag", () => {
    const disk = parseVolume(volume(["mica", "mica.size=1000"]));
    assert.deepEqual([disk?.id, disk?.sizeBytes, disk?.volumeBytes, disk?.whole], [ID, 1000, 4 * MiB, true]);
  });

  it("takes what is unfinished, being deleted, or still smaller than its size for partial", () => {
    for (const tags of [["mica", "mica.partial"], ["mica", "mica.partial", "mica.size=5"], ["mica", `mica.size=${5 * MiB}`], ["mica"]]) {
      assert.equal(parseVolume(volume(tags))?.whole, false, tags.join());
    }
  });

  it("knows only volumes of our name with our tag", () => {
    assert.equal(parseVolume(volume([])), undefined);
    assert.equal(parseVolume(volume(["micah"])), undefined);
    for (const name of ["mica-1", `volume-${ID}`, `mica-${ID}-1`, "vg-pool"]) assert.equal(parseVolume(volume(["mica", "mica.size=1"], name)), undefined, name);
  });
});

describe("parseLocation()", () => {
  it("finds the disk that locationOf() wrote, in its own group only", () => {
    assert.equal(parseLocation("vg-1", locationOf("vg-1", ID)), ID);
    assert.equal(parseLocation("vg-1", locationOf("vg-10", ID)), undefined);
    assert.equal(parseLocation("vg-1", "lvm://vg-1/root"), undefined);
    assert.equal(parseLocation("vg-1", `file:///dev/vg-1/${volumeName(ID)}`), undefined);
  });
});

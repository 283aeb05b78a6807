import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DiskPicture } from "./disk-picture.ts";

describe("DiskPicture", () => {
  it("shows how much of each cell is marked, the shorter last one too", () => {
    const picture = new DiskPicture(95, 10);
    for (const [start, end] of [[0, 10], [10, 11], [20, 25], [30, 39], [90, 95]] as const) picture.mark({ start, end });
    assert.equal(picture.cellBytes, 10);
    assert.equal(String(picture), "█░▒▓·····█");
  });

  it("shares out a range that crosses cells", () => {
    const picture = new DiskPicture(100, 10);
    picture.mark({ start: 5, end: 35 });
    assert.equal(String(picture), "▒██▒······");
  });

  it("shows disks that have fewer bytes than cells, and none at all", () => {
    const picture = new DiskPicture(3);
    picture.mark({ start: 1, end: 2 });
    assert.equal(String(picture), "·█·");
    assert.equal(String(new DiskPicture(0)), "");
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId } from "#/domain/ids.ts";
import { parseWorkerLocation, workerLocation } from "#/storage/worker/location.ts";

const id = diskId("6f1c9b1e-6a44-4c3f-9a53-2f1f0a9b7c10");

describe("the location of a worker's disk", () => {
  it("says host, pool and disk", () => {
    for (const host of ["hostb:6423", "[::1]:443"]) assert.deepEqual(parseWorkerLocation(workerLocation({ host, pool: "fast", id })), { host, pool: "fast", id });
  });

  it("is nothing else: services may give any words for one", () => {
    const wrong = ["", id, `mica-worker://hostb/${id}`, `mica-worker://hostb/fast/${id}/`, `mica-worker://hostb/fast/${id}\n`, `rbd://hostb/fast/${id}`, "mica-worker://hostb/fast/disk", `mica-worker://hostb/fast/../${id}`];
    for (const location of wrong) assert.equal(parseWorkerLocation(location), undefined, location);
  });
});

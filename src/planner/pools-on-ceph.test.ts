import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolName } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { Facts } from "#/planner/facts.ts";
import { planMaterialise } from "#/planner/materialise.ts";
import type { Capabilities } from "#/storage/driver.ts";

/** As the rbd driver says of itself. */
const CEPH: Capabilities = {
  clone: "dependent",
  snapshot: true,
  snapshotReadsSource: true,
  offloadCopy: true,
  addressable: "write",
  mutable: true,
  sparse: true,
  place: "rbd:5f76a6c8",
  why: {},
};

function facts(source: Partial<Facts["source"]>, target: Partial<Facts["target"]> = {}): Facts {
  return {
    source: { kind: "volume", id: "a", pool: poolName("volumes"), can: CEPH, format: "raw", virtualSizeBytes: GiB, allocatedBytes: 100 * MiB, ownBytes: 100 * MiB, depth: 0, live: true, ...source },
    target: { kind: "volume", pool: poolName("volumes"), can: CEPH, format: "raw", virtualSizeBytes: GiB, cloneDepthMax: 5, cache: {}, ...target },
  };
}

describe("where snapshots read their source", () => {
  it("a volume is cloned as it is, without being frozen before", () => {
    const plan = planMaterialise(facts({}));
    assert.equal(plan.strategy, "clone");
    assert.deepEqual(plan.steps.map(({ name }) => name), ["clone"]);
    assert.equal(plan.depth, 1);
  });

  it("an image of a volume is a clone that is made to stand alone, never the volume's own disk", () => {
    const plan = planMaterialise(facts({}, { kind: "image", pool: poolName("images") }));
    assert.equal(plan.strategy, "clone");
    assert.ok(plan.flattenAfter);
    const same = planMaterialise(facts({}, { kind: "image" }));
    assert.match(same.passedOver.find(({ strategy }) => strategy === "adopt")?.because ?? "", /reads through the volume/);
  });

  it("the depth counts on from one Ceph pool to the other, and is flattened beyond the limit", () => {
    const image = { kind: "image", pool: poolName("images"), live: false } as const;
    assert.ok(!planMaterialise(facts({ ...image, depth: 4 })).flattenAfter);
    const deep = planMaterialise(facts({ ...image, depth: 5 }));
    assert.deepEqual([deep.strategy, deep.depth, deep.flattenAfter], ["clone", 6, true]);
    assert.equal(planMaterialise(facts(image, { cloneDepthMax: 0 })).strategy, "offload_copy");
  });

  it("a volume from a snapshot is flattened where the pool says so, and only that", () => {
    const snapshot = { kind: "snapshot", live: false, depth: 1 } as const;
    assert.ok(!planMaterialise(facts(snapshot)).flattenAfter);
    assert.ok(planMaterialise(facts(snapshot, { flattenFromSnapshot: true })).flattenAfter);
    assert.ok(!planMaterialise(facts({ kind: "image", live: false }, { flattenFromSnapshot: true })).flattenAfter);
  });
});

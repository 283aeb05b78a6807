import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId, poolName } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { type CaptureFacts, planCapture } from "#/planner/capture.ts";
import type { CaptureMethod, Plan } from "#/planner/plan.ts";
import type { Since } from "#/planner/facts.ts";
import type { Capabilities } from "#/storage/driver.ts";

const OVERLAYS: Capabilities = { clone: "dependent", snapshot: true, offloadCopy: true, addressable: "write", mutable: true, sparse: true, place: "folder", why: {} };
const REFLINKS: Capabilities = { ...OVERLAYS, clone: "independent" };
const OBJECTS: Capabilities = { ...OVERLAYS, clone: "none", snapshot: false, mutable: false, addressable: "read", place: "s3", why: { clone: "objects are whole" } };
/** Ceph, seen from another place. */
const IN_PLACE: Capabilities = { ...OVERLAYS, snapshotReadsSource: true, changes: "objects", place: "ceph" };
const PREVIOUS = { imageId: "before", diskId: diskId("before"), toldBy: "guest", pool: poolName("images"), virtualSizeBytes: GiB, depth: 0 } as const;

const KEPT = { ...PREVIOUS, toldBy: "pool" } as const;

interface Case {
  readonly since?: Since | undefined;
  /** What the server's pool can do. */
  readonly can?: Capabilities;
  readonly remembers?: boolean;
  readonly guest?: CaptureFacts["guest"];
  readonly only?: CaptureMethod;
  readonly target?: Partial<CaptureFacts["target"]>;
}

function plan({ since = PREVIOUS, can = OVERLAYS, guest = "running", only = "backup_job", remembers = true, target }: Case): Plan {
  const facts: CaptureFacts = {
    guest,
    only,
    since,
    remembers,
    source: { kind: "server", id: "server", pool: poolName("servers"), can, format: "raw", virtualSizeBytes: GiB, allocatedBytes: 100 * MiB, ownBytes: 10 * MiB, depth: 1, live: true },
    target: { kind: "image", pool: poolName("images"), can: OVERLAYS, format: "raw", virtualSizeBytes: GiB, cloneDepthMax: 5, cache: {}, ...target },
  };
  const [best] = planCapture(facts);
  assert.ok(best);
  return best;
}

const REFUSALS: readonly (readonly [string, Case, RegExp])[] = [
  ["there is none before", { since: { unknown: "no image yet" } }, /^no image yet$/],
  ["the image is not raw", { target: { format: "qcow2" } }, /only raw images.*qcow2/],
  ["it goes to another pool", { target: { pool: poolName("other") } }, /in pool "images".*goes to "other"/],
  ["the disk was made larger", { target: { virtualSizeBytes: 2 * GiB } }, /made larger since image before/],
  ["its pool has no clones", { target: { can: OBJECTS } }, /cannot clone: objects are whole/],
  ["its pool is never to clone", { target: { cloneDepthMax: 0 } }, /cloneDepthMax is 0/],
  ["the guest does not run", { guest: "off", target: { pool: poolName("images"), can: { ...OVERLAYS, place: "elsewhere", clone: "independent" } } }, /the guest does not run, and only its QEMU/],
  ["another method reads the disk", { only: "live_mirror" }, /only with a backup job.*live_mirror/],
  ["the guest's view is read, and the pool knows what changed", { since: KEPT, can: IN_PLACE }, /only up to an instant that it freezes.*backup_job/],
  ["the pool does not know any more", { since: KEPT, can: { ...OVERLAYS, snapshotReadsSource: true, place: "ceph", why: { changes: "maps are off" } }, only: "pool_snapshot" }, /does not know what changes on a disk: maps are off/],
];

describe("an image of what changed since the one before", () => {
  it("is a clone of that, which reads through it where the pool's clones do, and is made independent", () => {
    const onOverlays = plan({});
    assert.deepEqual([onOverlays.strategy, onOverlays.depth, onOverlays.flattenAfter, onOverlays.fallbacks], ["copy_changes", 1, true, ["stream_convert", "staged_convert"]]);
    assert.match(onOverlays.reason, /since image before .* made independent/);
    const onReflinks = plan({ target: { can: REFLINKS } });
    assert.deepEqual([onReflinks.strategy, onReflinks.depth, onReflinks.flattenAfter], ["copy_changes", 0, false]);
  });

  for (const [name, given, because] of REFUSALS) {
    it(`is made of all of the disk where ${name}, and says so`, () => {
      const { strategy, passedOver } = plan(given);
      assert.notEqual(strategy, "copy_changes");
      assert.match(passedOver.find((one) => one.strategy === "copy_changes")?.because ?? "", because);
    });
  }

  it("is made of what its pool knows, running or off, where the pool freezes disks in place", () => {
    for (const given of [{ guest: "running", only: "pool_snapshot" }, { guest: "off" }] as const) {
      const { strategy, reason, passedOver, capture } = plan({ ...given, since: KEPT, can: IN_PLACE });
      assert.deepEqual([strategy, capture?.method, capture?.remembers], ["copy_changes", given.only ?? "at_rest", "pool"]);
      assert.match(reason, /Pool "servers" keeps what the disk held when image before was made/);
      assert.match(passedOver.find((one) => one.strategy === "clone")?.because ?? "", /share no bytes: ceph is not folder/);
    }
  });

  it("gives way to a clone for nothing, and then nothing is kept for the next one", () => {
    const { strategy, capture } = plan({ since: KEPT, can: { ...IN_PLACE, place: "folder" }, only: "pool_snapshot" });
    assert.deepEqual([strategy, capture?.remembers], ["clone", "nobody"]);
  });
});

const MEMORIES: readonly (readonly [string, Case, string | undefined])[] = [
  ["the guest, where a backup job reads it", {}, "guest"],
  ["the pool, where it freezes disks in place and the image lies elsewhere", { can: IN_PLACE, only: "pool_snapshot" }, "pool"],
  ["nobody, where the operator wants none", { remembers: false }, "nobody"],
  ["nobody, where no later image can be a clone of this one", { target: { format: "qcow2" } }, "nobody"],
  ["who knew before, where another method reads it", { only: "cold" }, undefined],
  ["who knew before, where the guest is off and its disk an overlay", { guest: "off", target: { can: { ...OVERLAYS, place: "elsewhere" } } }, undefined],
];

describe("what changes on a disk from an image on is known", () => {
  for (const [name, given, who] of MEMORIES) it(`to ${name}`, () => assert.equal(plan(given).capture?.remembers, who));
});

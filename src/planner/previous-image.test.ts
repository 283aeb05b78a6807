import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId, poolName } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { type CaptureFacts, planCapture } from "#/planner/capture.ts";
import type { CaptureMethod, Plan } from "#/planner/plan.ts";
import type { Since } from "#/planner/previous-image.ts";
import type { Capabilities } from "#/storage/driver.ts";

const OVERLAYS: Capabilities = { clone: "dependent", snapshot: true, offloadCopy: true, addressable: "write", mutable: true, sparse: true, place: "folder", why: {} };
const REFLINKS: Capabilities = { ...OVERLAYS, clone: "independent" };
const OBJECTS: Capabilities = { ...OVERLAYS, clone: "none", snapshot: false, mutable: false, addressable: "read", place: "s3", why: { clone: "objects are whole" } };
const PREVIOUS = { imageId: "before", diskId: diskId("before"), toldBy: "guest", pool: poolName("images"), virtualSizeBytes: GiB, depth: 0 } as const;

interface Case {
  readonly since?: Since | undefined;
  readonly guest?: CaptureFacts["guest"];
  readonly only?: CaptureMethod;
  readonly target?: Partial<CaptureFacts["target"]>;
}

function plan({ since = PREVIOUS, guest = "running", only = "backup_job", target }: Case): Plan {
  const facts: CaptureFacts = {
    guest,
    only,
    since,
    source: { kind: "server", id: "server", pool: poolName("servers"), can: OVERLAYS, format: "raw", virtualSizeBytes: GiB, allocatedBytes: 100 * MiB, ownBytes: 10 * MiB, depth: 1, live: true },
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
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolName } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { Capabilities } from "#/storage/driver.ts";
import { type CaptureFacts, planCapture } from "./capture.ts";
import { captureWays, closedMethods } from "./capture-ways.ts";
import { type CapturedGuest, effectOnGuest, expectedConsistency } from "./consistency.ts";
import { CAPTURE_METHODS } from "./plan.ts";

const overlay: Capabilities = { clone: "dependent", snapshot: true, offloadCopy: true, addressable: "write", mutable: true, sparse: true, place: "file:1", why: {} };
const reflink: Capabilities = { ...overlay, clone: "independent" };
const local = poolName("local");

function facts({ can = overlay, kind = "image", ...changes }: Partial<CaptureFacts> & { can?: Capabilities; kind?: "image" | "snapshot" } = {}): CaptureFacts {
  return {
    source: { kind: "server", id: "s", pool: local, can, format: "raw", virtualSizeBytes: GiB, allocatedBytes: 300 * MiB, ownBytes: 100 * MiB, depth: 1, live: true },
    target: { kind, pool: local, can, format: kind === "image" ? "qcow2" : "raw", virtualSizeBytes: GiB, cloneDepthMax: 5, cache: {} },
    guest: "running",
    ...changes,
  };
}

const methodsOf = (changes: Parameters<typeof facts>[0]) => planCapture(facts(changes)).map(({ capture }) => capture?.method);

describe("planCapture", () => {
  it("takes the gentlest method first, and says of the others why not", () => {
    assert.deepEqual(methodsOf({}), ["backup_job", "live_mirror", "cold"]);
    assert.deepEqual(methodsOf({ can: reflink }), ["pool_snapshot", "backup_job", "live_mirror", "cold"]);
    assert.deepEqual(methodsOf({ guest: "off" }), ["at_rest"]);
    assert.deepEqual(methodsOf({ requiresQuiesce: true }), ["backup_job", "live_mirror"]);
    for (const changes of [{}, { can: reflink }, { guest: "off" }, { only: "live_mirror" }, { requiresQuiesce: true }] as const) {
      const plans = planCapture(facts(changes));
      const closed = plans[0]?.capture?.closed.map(({ method }) => method) ?? [];
      assert.deepEqual([...plans.flatMap(({ capture }) => capture?.method ?? []), ...closed].sort(), [...CAPTURE_METHODS].sort());
    }
  });

  it("counts the file of a mirror: what the guest's own layer holds", () => {
    const [backup, mirror] = planCapture(facts());
    assert.deepEqual([backup?.bytes.temporary, mirror?.bytes.temporary], [0, 100 * MiB]);
    assert.equal(mirror?.bytes.read, backup?.bytes.read);
  });
});

const guest: CapturedGuest = { state: "running", shutDown: false, hasAgent: true, agentConnected: true, freezeMsMax: 10_000 };

describe("captureWays", () => {
  const planned = (target: string, changes: Parameters<typeof facts>[0]) => ({ target, ways: planCapture(facts({ kind: "snapshot", ...changes })) });

  it("takes each disk by the method, or by its own best", () => {
    const disks = [planned("vda", { can: reflink }), planned("vdb", {})];
    assert.deepEqual(captureWays(disks, guest).map(({ method, methods }) => [method, methods]), [
      ["pool_snapshot", { vda: "pool_snapshot", vdb: "backup_job" }],
      ["backup_job", { vda: "backup_job", vdb: "backup_job" }],
      ["live_mirror", { vda: "live_mirror", vdb: "live_mirror" }],
      ["cold", { vda: "cold", vdb: "cold" }],
    ]);
    assert.deepEqual(closedMethods(disks).map(({ method }) => method), ["at_rest"]);
  });

  it("adds up the bytes of all disks", () => {
    const [one] = captureWays([planned("vda", {})], guest);
    const [both] = captureWays([planned("vda", {}), planned("vdb", {})], guest);
    assert.ok(one && one.bytes.read > 0);
    assert.equal(both?.bytes.read, 2 * one.bytes.read);
  });
});

describe("expectedConsistency", () => {
  it("is what the guest's state and its agent allow", () => {
    const level = (changes: Partial<CapturedGuest>, method: (typeof CAPTURE_METHODS)[number] = "backup_job") => expectedConsistency(method, { ...guest, ...changes }).level;
    assert.equal(level({}), "filesystem");
    assert.equal(level({ agentConnected: false }), "crash");
    assert.equal(level({ hasAgent: false }), "crash");
    assert.equal(level({ state: "paused" }), "crash");
    assert.equal(level({}, "cold"), "crash");
    assert.equal(level({ state: "off", shutDown: true }, "at_rest"), "application");
    assert.equal(level({ state: "off" }, "at_rest"), "crash");
  });

  it("holds the guest no more than it must", () => {
    assert.equal(effectOnGuest("backup_job", guest, 1), "frozen");
    assert.equal(effectOnGuest("backup_job", { ...guest, hasAgent: false }, 1), "none");
    assert.equal(effectOnGuest("pool_snapshot", { ...guest, hasAgent: false }, 2), "paused");
    assert.equal(effectOnGuest("cold", guest, 1), "stopped");
    assert.equal(effectOnGuest("at_rest", { ...guest, state: "off" }, 1), "none");
  });
});

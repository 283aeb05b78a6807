import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TestWorld } from "./test-world.ts";

describe("snapshots", () => {
  it("are made, shown, renamed and deleted", async () => {
    await using world = await TestWorld.open();
    const volume = await world.makeVolume({ size: 2 });
    const body = { snapshot: { volume_id: volume, name: " s ", description: "d", metadata: { a: "1" } } };
    const { snapshot: made } = await world.expect(202, "POST", "/snapshots", { body });
    assert.deepEqual([made.status, made.size, made.volume_id, made.name, made.metadata], ["creating", 2, volume, "s", { a: "1" }]);
    await world.settle();
    const { snapshot } = await world.expect(200, "GET", `/snapshots/${made.id}`);
    assert.deepEqual([snapshot.status, snapshot["os-extended-snapshot-attributes:progress"]], ["available", "100%"]);
    assert.equal(snapshot["os-extended-snapshot-attributes:project_id"], world.alice.projectId);
    const changed = await world.expect(200, "PUT", `/snapshots/${made.id}`, { body: { snapshot: { name: "t" } } });
    assert.deepEqual([changed.snapshot.name, changed.snapshot.description], ["t", "d"]);
    await world.expect(202, "DELETE", `/snapshots/${made.id}`);
    await world.settle();
    assert.equal(await world.refusal(404, "GET", `/snapshots/${made.id}`), `Snapshot ${made.id} could not be found.`);
    const { limits } = await world.expect(200, "GET", "/limits");
    assert.deepEqual([limits.absolute.totalSnapshotsUsed, limits.absolute.totalGigabytesUsed], [0, 2]);
    await world.assertAuditClean();
  });

  it("have their fields by microversion", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeSnapshot(await world.makeVolume());
    for (const [field, since] of [
      ["group_snapshot_id", 14],
      ["user_id", 41],
      ["consumes_quota", 65],
    ] as const) {
      for (const [minor, expected] of [
        [since - 1, false],
        [since, true],
      ] as const) {
        const { snapshot } = await world.expect(200, "GET", `/snapshots/${id}`, { minor });
        assert.equal(field in snapshot, expected, `${field} in 3.${minor}`);
      }
    }
  });

  it("are listed with filters, order, pages and count", async () => {
    await using world = await TestWorld.open();
    const [one, two] = [await world.makeVolume(), await world.makeVolume()];
    await world.makeSnapshot(one, { name: "a", metadata: { k: "v" } });
    await world.makeSnapshot(two, { name: "b" });
    await world.makeSnapshot(two, { name: "c" });
    const list = async (query: string) =>
      (await world.expect(200, "GET", `/snapshots?${query}`)).snapshots.map(({ name }: { name: string }) => name).join("");
    assert.equal(await list(""), "cba");
    assert.equal(await list("sort=name:asc"), "abc");
    assert.equal(await list(`volume_id=${two}`), "cb");
    assert.equal(await list("status=error"), "");
    assert.equal(await list("name=a"), "a");
    assert.equal(await list(`metadata=${encodeURIComponent("{'k': 'v'}")}`), "a");
    assert.equal(await list("consumes_quota=false"), "");
    const page = await world.expect(200, "GET", "/snapshots/detail?limit=2&with_count=true");
    assert.deepEqual([page.snapshots.length, page.count, page.snapshots_links.length], [2, 3, 1]);
    assert.match(await world.refusal(400, "GET", "/snapshots?colour=red"), /^Invalid filters colour/);
    await world.refusal(404, "GET", "/snapshots?marker=none");
  });

  it("are refused for what cannot have them", async () => {
    await using world = await TestWorld.open();
    const volume = await world.makeVolume();
    for (const [fields, status, message] of [
      [{}, 400, /must have: volume_id/],
      [{ volume_id: "none" }, 404, /^Volume none could not be found\.$/],
      [{ volume_id: volume, force: false }, 400, /force/],
      [{ volume_id: volume, metadata: { a: 1 } }, 400, /metadata/],
      [{ volume_id: volume, colour: "red" }, 400, /unknown properties/],
    ] as const) {
      assert.match(await world.refusal(status, "POST", "/snapshots", { body: { snapshot: fields } }), message);
    }
    await world.setStatus(volume, "error");
    const message = await world.refusal(400, "POST", "/snapshots", { body: { snapshot: { volume_id: volume } } });
    assert.equal(message, `Invalid volume: Volume ${volume} status must be available, in-use, but current status is: error.`);
  });

  it("count against the quota, by number and by size", async () => {
    await using world = await TestWorld.open({ quotas: { volumes: 10, snapshots: 1, gigabytes: 5, perVolumeGigabytes: -1 } });
    const small = await world.makeVolume({ size: 1 });
    const large = await world.makeVolume({ size: 3 });
    const tooLarge = await world.refusal(413, "POST", "/snapshots", { body: { snapshot: { volume_id: large } } });
    assert.equal(
      tooLarge,
      "Requested volume or snapshot exceeds allowed gigabytes quota. Requested 3G, quota is 5G and 4G has been consumed.",
    );
    await world.makeSnapshot(small);
    await world.expect(202, "DELETE", `/volumes/${large}`);
    await world.settle();
    const tooMany = await world.refusal(413, "POST", "/snapshots", { body: { snapshot: { volume_id: small } } });
    assert.equal(tooMany, "Maximum number of snapshots allowed (1) exceeded for quota 'snapshots'.");
    await world.assertAuditClean();
  });

  it("are deleted once by two at the same time, from available and error, and from any status by force", async () => {
    await using world = await TestWorld.open();
    const volume = await world.makeVolume();
    const id = await world.makeSnapshot(volume);
    const path = `/snapshots/${id}/action`;
    await world.refusal(403, "POST", path, { body: { "os-reset_status": { status: "error" } } });
    await world.refusal(400, "POST", path, { as: world.admin, body: { "os-reset_status": { status: "lost" } } });
    await world.expect(202, "POST", path, { as: world.admin, body: { "os-reset_status": { status: "creating" } } });
    const message = await world.refusal(400, "DELETE", `/snapshots/${id}`);
    assert.equal(message, "Invalid snapshot: Snapshot status must be available or error and must not be part of a group.");
    await world.refusal(403, "POST", path, { body: { "os-force_delete": null } });
    await world.refusal(400, "POST", path, { as: world.admin, body: { "os-fly": null } });
    await world.expect(202, "POST", path, { as: world.admin, body: { "os-force_delete": null } });
    await world.settle();
    await world.refusal(404, "GET", `/snapshots/${id}`);

    const other = await world.makeSnapshot(volume);
    const answers = await Promise.all([world.ask("DELETE", `/snapshots/${other}`), world.ask("DELETE", `/snapshots/${other}`)]);
    const statuses = answers.map(({ statusCode }) => statusCode).toSorted((a, b) => a - b);
    assert.equal(statuses[0], 202);
    assert.notEqual(statuses[1], 202);
    await world.assertAuditClean();
  });

  it("have metadata", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeSnapshot(await world.makeVolume(), { metadata: { a: "1" } });
    await checkMetadata(world, `/snapshots/${id}/metadata`);
  });
});

describe("volume metadata", () => {
  it("is shown, merged, replaced, and changed by key", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume({ metadata: { a: "1" } });
    await checkMetadata(world, `/volumes/${id}/metadata`);
  });
});

/** The calls are the same for both; it begins as `{ a: "1" }`. */
async function checkMetadata(world: TestWorld, path: string): Promise<void> {
  assert.deepEqual(await world.expect(200, "GET", path), { metadata: { a: "1" } });
  assert.deepEqual(await world.expect(200, "POST", path, { body: { metadata: { b: "2" } } }), { metadata: { a: "1", b: "2" } });
  assert.deepEqual(await world.expect(200, "PUT", path, { body: { metadata: { c: "3" } } }), { metadata: { c: "3" } });
  assert.deepEqual(await world.expect(200, "GET", `${path}/c`), { meta: { c: "3" } });
  assert.deepEqual(await world.expect(200, "PUT", `${path}/c`, { body: { meta: { c: "4" } } }), { meta: { c: "4" } });
  assert.equal(await world.refusal(400, "PUT", `${path}/c`, { body: { meta: { d: "4" } } }), "Request body and URI mismatch");
  assert.equal(
    await world.refusal(400, "PUT", `${path}/c`, { body: { meta: { c: "4", d: "5" } } }),
    "Request body contains too many items",
  );
  await world.expect(200, "DELETE", `${path}/c`);
  assert.match(await world.refusal(404, "DELETE", `${path}/c`), /has no metadata with key c\.$/);
  await world.refusal(404, "GET", `${path}/c`);
  await world.refusal(400, "POST", path, { body: { metadata: { "": "x" } } });
  await world.refusal(400, "POST", path, { body: { metadata: { a: null } } });
  await world.refusal(400, "POST", path, { body: {} });
  assert.deepEqual(await world.expect(200, "GET", path), { metadata: {} });
}

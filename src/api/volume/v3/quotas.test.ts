import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TestWorld } from "./test-world.ts";

describe("quotas", () => {
  it("are never passed, however many ask at once", async () => {
    await using world = await TestWorld.open({ quotas: { volumes: 5 } });
    const answers = await Promise.all(Array.from({ length: 20 }, () => world.ask("POST", "/volumes", { body: { volume: { size: 1 } } })));
    const statuses = answers.map(({ statusCode }) => statusCode);
    assert.equal(statuses.filter((status) => status === 202).length, 5);
    assert.equal(statuses.filter((status) => status === 413).length, 15);
    const refused = answers.find(({ statusCode }) => statusCode === 413);
    assert.deepEqual(refused?.json(), {
      overLimit: { code: 413, message: "Maximum number of volumes allowed (5) exceeded for quota 'volumes'.", retryAfter: "0" },
    });
    assert.ok(refused?.headers["retry-after"] !== undefined);
    await world.assertAuditClean();
  });

  it("limit the size of one volume", async () => {
    await using world = await TestWorld.open({ quotas: { perVolumeGigabytes: 2 } });
    const message = await world.refusal(413, "POST", "/volumes", { body: { volume: { size: 3 } } });
    assert.equal(message, "Requested volume size 3G is larger than maximum allowed limit 2G.");
    const id = await world.makeVolume({ size: 2 });
    assert.equal(await world.refusal(413, "POST", `/volumes/${id}/action`, { body: { "os-extend": { new_size: 3 } } }), message);
    assert.equal(await world.status(id), "available");
  });

  it("are shown with and without use", async () => {
    await using world = await TestWorld.open();
    await world.makeVolume({ size: 2 });
    const path = `/os-quota-sets/${world.alice.projectId}`;
    const { quota_set: limits } = await world.expect(200, "GET", path);
    assert.deepEqual(limits, {
      id: world.alice.projectId,
      volumes: 10,
      snapshots: 10,
      gigabytes: 1000,
      per_volume_gigabytes: -1,
      backups: 0,
      backup_gigabytes: 0,
      groups: 0,
      volumes___DEFAULT__: -1,
      snapshots___DEFAULT__: -1,
      gigabytes___DEFAULT__: -1,
    });
    const { quota_set: use } = await world.expect(200, "GET", `${path}?usage=True`);
    assert.deepEqual(use.volumes, { limit: 10, in_use: 1, reserved: 0, allocated: 0 });
    assert.equal(use.gigabytes___DEFAULT__.in_use, 2);
    const { limits: absolute } = await world.expect(200, "GET", "/limits");
    assert.deepEqual(absolute, {
      rate: [],
      absolute: {
        maxTotalVolumes: 10,
        maxTotalSnapshots: 10,
        maxTotalVolumeGigabytes: 1000,
        maxTotalBackups: 0,
        maxTotalBackupGigabytes: 0,
        totalVolumesUsed: 1,
        totalSnapshotsUsed: 0,
        totalGigabytesUsed: 2,
        totalBackupsUsed: 0,
        totalBackupGigabytesUsed: 0,
      },
    });
    const ofAlice = await world.expect(200, "GET", `/limits?project_id=${world.alice.projectId}`, { as: world.admin });
    assert.equal(ofAlice.limits.absolute.totalVolumesUsed, 1);
    const own = await world.expect(200, "GET", `/limits?project_id=${world.alice.projectId}`, { as: world.admin, minor: 38 });
    assert.equal(own.limits.absolute.totalVolumesUsed, 0);
  });

  it("are changed and reset by admins, for a project and for all", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    const path = `/os-quota-sets/${world.alice.projectId}`;
    const limit = async () => (await world.expect(200, "GET", path)).quota_set.volumes;
    const set = await world.expect(200, "PUT", path, {
      as,
      body: { quota_set: { volumes: 3, gigabytes: "20", snapshots: null, tenant_id: "x" } },
    });
    assert.deepEqual([set.quota_set.volumes, set.quota_set.gigabytes, set.quota_set.snapshots], [3, 20, 10]);
    assert.equal(await limit(), 3);
    await world.expect(200, "PUT", "/os-quota-class-sets/default", { as, body: { quota_class_set: { volumes: 7 } } });
    assert.equal(await limit(), 3);
    await world.expect(200, "DELETE", path, { as });
    assert.equal(await limit(), 7);
    assert.equal((await world.expect(200, "GET", `${path}/defaults`)).quota_set.volumes, 7);
    assert.equal((await world.expect(200, "GET", "/os-quota-class-sets/default", { as })).quota_class_set.volumes, 7);
    await world.refusal(404, "GET", "/os-quota-class-sets/gold", { as });
  });

  it("refuse what is no limit", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    const path = `/os-quota-sets/${world.alice.projectId}`;
    await world.makeVolume();
    assert.equal(await world.refusal(400, "PUT", path, { as, body: { quota_set: { flowers: 1 } } }), "Bad key(s) in quota set: flowers");
    for (const volumes of [-2, 1.5, "many", true]) await world.refusal(400, "PUT", path, { as, body: { quota_set: { volumes } } });
    await world.refusal(400, "PUT", path, { as, body: {} });
    await world.refusal(400, "PUT", `${path}?skip_validation=false`, { as, body: { quota_set: { volumes: 0 } } });
    await world.expect(200, "PUT", path, { as, body: { quota_set: { volumes: 0 } } });
  });
});

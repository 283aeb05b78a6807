import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { serverQuota } from "#/domain/quota.ts";
import { ComputeWorld } from "./test-world.ts";

const take = (world: ComputeWorld, count: number) =>
  world.base.context.db.transaction().execute((trx) => world.compute.quotas.take(trx, world.alice.projectId, serverQuota({ vcpus: count, ramMib: 512 })));

describe("quotas of servers", () => {
  it("are taken, and refused in Nova's words", async () => {
    await using world = await ComputeWorld.open({ quotas: { instances: 2, cores: 3 } });
    await take(world, 2);
    await assert.rejects(take(world, 2), { code: "server_quota_exceeded", status: 403, message: "Quota exceeded for cores: Requested 2, but already used 2 of 3 cores" });
    await take(world, 1);
    await assert.rejects(take(world, 0), { message: "Quota exceeded for instances: Requested 1, but already used 2 of 2 instances" });
    const { quota_set } = await world.expect(200, "GET", `/os-quota-sets/${world.alice.projectId}/detail`);
    assert.deepEqual(quota_set.cores, { limit: 3, in_use: 3, reserved: 0 });
    assert.deepEqual(quota_set.ram, { limit: 51_200, in_use: 1024, reserved: 0 });
    const { absolute } = (await world.expect(200, "GET", "/limits")).limits;
    assert.deepEqual([absolute.maxTotalInstances, absolute.totalInstancesUsed, absolute.totalRAMUsed], [2, 2, 1024]);
  });

  it("are shown as their microversion has them", async () => {
    await using world = await ComputeWorld.open();
    const path = `/os-quota-sets/${world.alice.projectId}`;
    const keys = async (minor: number) => Object.keys((await world.expect(200, "GET", path, { minor })).quota_set);
    assert.ok((await keys(35)).includes("floating_ips") && !(await keys(36)).includes("floating_ips"));
    assert.ok((await keys(56)).includes("injected_files") && !(await keys(57)).includes("injected_files"));
    const { id, ...set } = (await world.expect(200, "GET", `${path}/defaults`)).quota_set;
    assert.equal(id, world.alice.projectId);
    assert.deepEqual(set, { instances: 10, cores: 20, ram: 51_200, key_pairs: 100, metadata_items: 128, server_groups: 10, server_group_members: 10 });
    const limits = async (minor: number) => Object.keys((await world.expect(200, "GET", "/limits", { minor })).limits.absolute);
    assert.ok((await limits(38)).includes("maxImageMeta") && !(await limits(39)).includes("maxImageMeta"));
    assert.ok((await limits(56)).includes("maxPersonality") && !(await limits(57)).includes("maxPersonality"));
  });

  it("are set and given back by admins, and leave those of volumes alone", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const path = `/os-quota-sets/${world.alice.projectId}`;
    await world.base.expect(200, "PUT", path, { as, body: { quota_set: { volumes: 77 } } });
    await world.refusal(403, "PUT", path, { body: { quota_set: { cores: 5 } } });
    const { quota_set } = await world.expect(200, "PUT", path, { as, body: { quota_set: { cores: 5, ram: "-1", instances: null } } });
    assert.deepEqual([quota_set.cores, quota_set.ram, quota_set.instances], [5, -1, 10]);
    await take(world, 4);
    assert.match(await world.refusal(400, "PUT", path, { as, body: { quota_set: { cores: 3 } } }), /^Quota limit 3 for cores must be/);
    await world.expect(200, "PUT", path, { as, body: { quota_set: { cores: 3, force: true } } });
    await world.refusal(400, "PUT", path, { as, body: { quota_set: { volumes: 3 } } });
    await world.refusal(400, "PUT", path, { as, body: { quota_set: { floating_ips: 3 } } });
    await world.expect(200, "PUT", path, { as, minor: 35, body: { quota_set: { floating_ips: 3 } } });
    await world.refusal(400, "PUT", `${path}?user_id=x`, { as, body: { quota_set: { cores: 3 } } });
    await world.expect(200, "GET", `${path}?user_id=x`, { as });
    await world.expect(202, "DELETE", path, { as });
    assert.equal((await world.expect(200, "GET", path)).quota_set.cores, 20);
    assert.equal((await world.base.expect(200, "GET", path)).quota_set.volumes, 77);
    await world.refusal(403, "GET", `/os-quota-sets/${world.admin.projectId}`);
  });

  it("have a class for all projects without quotas of their own", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { quota_class_set } = await world.expect(200, "PUT", "/os-quota-class-sets/default", { as, body: { quota_class_set: { instances: 4 } } });
    assert.equal(quota_class_set.instances, 4);
    assert.equal((await world.expect(200, "GET", `/os-quota-sets/${world.alice.projectId}`)).quota_set.instances, 4);
    assert.equal("server_groups" in (await world.expect(200, "GET", "/os-quota-class-sets/default", { as, minor: 49 })).quota_class_set, false);
    await world.refusal(403, "GET", "/os-quota-class-sets/default");
    await world.refusal(404, "GET", "/os-quota-class-sets/gold", { as });
  });

  it("of another project are shown to admins", async () => {
    await using world = await ComputeWorld.open();
    await take(world, 1);
    const path = `/limits?tenant_id=${world.alice.projectId}`;
    assert.equal((await world.expect(200, "GET", path, { as: world.admin })).limits.absolute.totalInstancesUsed, 1);
    const bob = await world.base.server.login("bob", "mirror");
    assert.equal((await world.expect(200, "GET", path, { as: bob })).limits.absolute.totalInstancesUsed, 0);
  });
});

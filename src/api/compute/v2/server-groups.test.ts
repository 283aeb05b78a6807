import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

async function makeGroup(world: ComputeWorld, server_group: object, minor = 104) {
  const answer = await world.expect(200, "POST", "/os-server-groups", { minor, body: { server_group } });
  return answer.server_group;
}

async function hinted(world: ComputeWorld, hints: object, changes: object = {}) {
  const server = { name: "one", imageRef: await world.base.makeImage(), flavorRef: "42", networks: "none", ...changes };
  return { server, "os:scheduler_hints": hints };
}

async function makeServerIn(world: ComputeWorld, hints: object): Promise<string> {
  const { server } = await world.expect(202, "POST", "/servers", { body: await hinted(world, hints) });
  await world.base.settle();
  return server.id;
}

describe("server groups", () => {
  it("are made, shown as their microversion has them, listed, and deleted", async () => {
    await using world = await ComputeWorld.open();
    const { projectId: project_id, userId: user_id } = world.alice;
    const group = await makeGroup(world, { name: "web", policy: "anti-affinity", rules: { max_server_per_host: 2 } });
    assert.deepEqual(group, { id: group.id, name: "web", policy: "anti-affinity", rules: { max_server_per_host: 2 }, members: [], project_id, user_id });
    const old = { id: group.id, name: "web", policies: ["anti-affinity"], members: [], metadata: {} };
    const path = `/os-server-groups/${group.id}`;
    assert.deepEqual((await world.expect(200, "GET", path, { minor: 12 })).server_group, old);
    assert.deepEqual((await world.expect(200, "GET", path, { minor: 63 })).server_group, { ...old, project_id, user_id });
    const second = await makeGroup(world, { name: "db", policies: ["soft-affinity"] }, 15);
    assert.deepEqual((await world.expect(200, "GET", "/os-server-groups?limit=1&offset=1")).server_groups.map(({ id }: { id: string }) => id), [second.id]);
    assert.deepEqual((await world.expect(200, "GET", "/os-server-groups", { as: world.admin })).server_groups, []);
    assert.equal((await world.expect(200, "GET", "/os-server-groups?all_projects=True", { as: world.admin })).server_groups.length, 2);
    await world.refusal(403, "GET", "/os-server-groups?all_projects=True");
    await world.expect(204, "DELETE", path);
    assert.equal(await world.refusal(404, "GET", path), `Instance group ${group.id} could not be found.`);
    await world.refusal(404, "DELETE", path);
    assert.equal((await world.expect(200, "GET", "/limits")).limits.absolute.totalServerGroupsUsed, 1);
    await world.base.assertAuditClean();
  });

  it("are refused in words where they make none", async () => {
    await using world = await ComputeWorld.open();
    for (const [server_group, minor, words] of [
      [{ name: "a", policy: "affinity", rules: { max_server_per_host: 2 } }, 104, /Only anti-affinity policy supports rules/],
      [{ name: "a", policy: "random" }, 104, /policy/],
      [{ name: "a", policies: ["affinity"] }, 104, /policies|policy/],
      [{ name: "a", policies: ["soft-affinity"] }, 14, /policies/],
      [{ name: "a", policies: ["affinity", "anti-affinity"] }, 63, /policies/],
      [{ name: "", policy: "affinity" }, 104, /name/],
    ] as const) {
      assert.match(await world.refusal(400, "POST", "/os-server-groups", { minor, body: { server_group } }), words);
    }
    for (let index = 0; index < 10; index++) await makeGroup(world, { name: `g${index}`, policy: "affinity" });
    assert.match(await world.refusal(403, "POST", "/os-server-groups", { body: { server_group: { name: "more", policy: "affinity" } } }), /Quota exceeded for server_groups/);
  });

  it("hold as far as one host allows: affinity always, anti-affinity for one server, or as many as it says", async () => {
    await using world = await ComputeWorld.open();
    const together = await makeGroup(world, { name: "together", policy: "affinity" });
    const apart = await makeGroup(world, { name: "apart", policy: "anti-affinity" });
    const pairs = await makeGroup(world, { name: "pairs", policy: "anti-affinity", rules: { max_server_per_host: 2 } });
    const members = [await makeServerIn(world, { group: together.id }), await makeServerIn(world, { group: together.id })];
    assert.deepEqual((await world.expect(200, "GET", `/os-server-groups/${together.id}`)).server_group.members, members);
    const only = await makeServerIn(world, { group: apart.id });
    const refused = await world.refusal(400, "POST", "/servers", { body: await hinted(world, { group: apart.id }) });
    assert.match(refused, /^No valid host was found\..*anti-affinity with at most 1 on a host/);
    await world.refusal(400, "POST", "/servers", { body: await hinted(world, { group: pairs.id }, { min_count: 3 }) });
    await world.expect(202, "POST", "/servers", { body: await hinted(world, { group: pairs.id }, { min_count: 2 }) });
    await world.base.settle();
    const { server } = await world.expect(200, "GET", `/servers/${only}`);
    assert.deepEqual([server.server_groups, server.scheduler_hints], [[apart.id], { group: apart.id }]);
    await world.expect(204, "DELETE", `/servers/${only}`);
    await world.base.settle();
    await makeServerIn(world, { group: apart.id });
    await world.expect(204, "DELETE", `/os-server-groups/${together.id}`);
    assert.deepEqual((await world.expect(200, "GET", `/servers/${members[0]}`)).server.server_groups, []);
    await world.base.assertAuditClean();
  });

  it("are held to the quota of their members", async () => {
    await using world = await ComputeWorld.open();
    await world.expect(200, "PUT", `/os-quota-sets/${world.alice.projectId}`, { as: world.admin, body: { quota_set: { server_group_members: 1 } } });
    const { id: group } = await makeGroup(world, { name: "small", policy: "soft-anti-affinity" });
    await makeServerIn(world, { group });
    assert.equal(await world.refusal(403, "POST", "/servers", { body: await hinted(world, { group }) }), "Quota exceeded, too many servers in group");
  });

  it("and other hints are refused where the one host cannot follow them", async () => {
    await using world = await ComputeWorld.open();
    const id = await makeServerIn(world, { anything: { else: 1 } });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.server_groups, server.scheduler_hints], [[], { anything: { else: 1 } }]);
    for (const [hints, words] of [
      [{ group: randomUUID() }, /^Instance group .* could not be found/],
      [{ group: "web" }, /group/],
      [{ different_host: [id] }, /No valid host was found/],
      [{ different_host: id }, /No valid host was found/],
      [{ same_host: [randomUUID()] }, /No valid host was found/],
      [{ query: '[">=","$free_ram_mb",1024]' }, /"query" is not offered/],
    ] as const) {
      assert.match(await world.refusal(400, "POST", "/servers", { body: await hinted(world, hints) }), words, JSON.stringify(hints));
    }
    await makeServerIn(world, { same_host: [id], different_host: [randomUUID()] });
    assert.equal((await world.expect(200, "GET", "/servers")).servers.length, 2);
  });
});

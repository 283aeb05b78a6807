import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

const FLAVOR = "42";

/** What is asked for, beside an image and a flavor, and why not. */
const UNFIT: readonly (readonly [string, object, number, RegExp])[] = [
  ["no flavor", { flavorRef: undefined }, 400, /flavorRef/],
  ["an unknown flavor", { flavorRef: "none" }, 400, /Invalid flavorRef provided/],
  ["an unknown image", { imageRef: "11111111-2222-4333-8444-555555555555" }, 400, /Can not find requested image/],
  ["no disk at all", { imageRef: undefined }, 400, /Boot sequence/],
  ["a network by id", { networks: [{ uuid: "11111111-2222-4333-8444-555555555555" }] }, 400, /not offered here/],
  ["a port", { networks: [{ port: "11111111-2222-4333-8444-555555555555" }] }, 400, /not offered here/],
  ["no word on networks", { networks: undefined }, 400, /networks/],
  ["an unknown key", { key_name: "none" }, 400, /Invalid key_name provided/],
  ["an unknown field", { colour: "red" }, 400, /colour/],
  ["a security group", { security_groups: [{ name: "web" }] }, 400, /Security group web/],
  ["trusted certificates", { trusted_image_certificates: ["x"] }, 400, /not verified/],
  ["a host, by a member", { host: "here" }, 403, /choose the host/],
  ["user data that is not base64", { user_data: "!" }, 400, /user_data/],
  ["user data that is cut", { user_data: "abc" }, 400, /Userdata content cannot be decoded/],
  ["files after 2.56", { personality: [] }, 400, /personality/],
  ["more at least than at most", { min_count: 3, max_count: 2 }, 400, /min_count must be <= max_count/],
  ["another zone", { availability_zone: "moon" }, 400, /availability zone is not available/],
  ["a bad hostname", { hostname: "-x" }, 400, /hostname/],
  ["both forms of mappings", { block_device_mapping: [{ volume_id: "v" }], block_device_mapping_v2: [{ source_type: "blank" }] }, 400, /syntaxes/],
  ["a tag with a comma", { tags: ["a,b"] }, 400, /tags/],
  ["too much metadata", { metadata: Object.fromEntries(Array.from({ length: 129 }, (_, index) => [`k${index}`, "v"])) }, 403, /metadata items exceeds 128/],
];

describe("servers", () => {
  it("are made of an image, become active, and are deleted with all that they had", async () => {
    await using world = await ComputeWorld.open();
    const imageRef = await world.base.makeImage();
    const answer = await world.ask("POST", "/servers", { body: { server: { name: "one", imageRef, flavorRef: FLAVOR, networks: "none", metadata: { a: "b" }, tags: ["x"] } } });
    assert.equal(answer.statusCode, 202, answer.body);
    const { server: made } = answer.json();
    assert.deepEqual([made["OS-DCF:diskConfig"], made.security_groups], ["AUTO", [{ name: "default" }]]);
    assert.ok(String(answer.headers.location).endsWith(`/compute/v2.1/servers/${made.id}`));
    await world.base.settle();
    const { server } = await world.expect(200, "GET", `/servers/${made.id}`);
    assert.deepEqual([server.status, server.fault, server["OS-EXT-STS:power_state"], server["OS-EXT-STS:task_state"]], ["ACTIVE", undefined, 1, null]);
    assert.deepEqual([server.image.id, server.flavor.original_name, server.metadata, server.tags], [imageRef, "m1.nano", { a: "b" }, ["x"]]);
    assert.deepEqual([server.addresses, server.config_drive, server.locked, server.tenant_id], [{}, "True", false, world.alice.projectId]);
    assert.equal("OS-EXT-SRV-ATTR:host" in server, false);
    const { absolute } = (await world.expect(200, "GET", "/limits")).limits;
    assert.deepEqual([absolute.totalInstancesUsed, absolute.totalCoresUsed, absolute.totalRAMUsed], [1, 1, 192]);
    const { instanceActions } = await world.expect(200, "GET", `/servers/${made.id}/os-instance-actions`);
    assert.deepEqual(instanceActions.map(({ action }: { action: string }) => action), ["create"]);
    const { instanceAction } = await world.expect(200, "GET", `/servers/${made.id}/os-instance-actions/${instanceActions[0].request_id}`);
    assert.equal(instanceAction.events[0].result, "Success");
    await world.expect(204, "DELETE", `/servers/${made.id}`);
    await world.base.assertAuditClean();
    assert.equal(await world.refusal(404, "GET", `/servers/${made.id}`), `Instance ${made.id} could not be found.`);
    assert.equal((await world.expect(200, "GET", "/limits")).limits.absolute.totalInstancesUsed, 0);
  });

  it("show what their microversion has", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const at = async (minor: number, as = world.alice) => (await world.expect(200, "GET", `/servers/${id}`, { minor, as })).server as Record<string, unknown>;
    for (const [field, since] of [
      ["locked", 9],
      ["description", 19],
      ["tags", 26],
      ["trusted_image_certificates", 63],
      ["server_groups", 71],
      ["locked_reason", 73],
      ["OS-EXT-SRV-ATTR:hostname", 90],
      ["pinned_availability_zone", 96],
      ["scheduler_hints", 100],
    ] as const) {
      assert.deepEqual([field in (await at(since - 1)), field in (await at(since))], [false, true], field);
    }
    assert.deepEqual(Object.keys((await at(46)).flavor as object), ["id", "links"]);
    assert.deepEqual([((await at(97)).image as Record<string, unknown>)["properties"], ((await at(98)).image as Record<string, unknown>)["properties"]], [undefined, { os_distro: "cirros" }]);
    assert.equal("OS-EXT-SRV-ATTR:root_device_name" in (await at(2, world.admin)), false);
    assert.equal((await at(3, world.admin))["OS-EXT-SRV-ATTR:root_device_name"], "/dev/vda");
  });

  it("are made several at once, under one reservation", async () => {
    await using world = await ComputeWorld.open({ quotas: { instances: 3 } });
    const imageRef = await world.base.makeImage();
    const body = { server: { name: "many", imageRef, flavorRef: FLAVOR, networks: "auto", min_count: 2, max_count: 9, return_reservation_id: true } };
    const { reservation_id } = await world.expect(202, "POST", "/servers", { body });
    await world.base.settle();
    const { servers } = await world.expect(200, "GET", `/servers/detail?reservation_id=${reservation_id}&sort_key=display_name&sort_dir=asc`);
    assert.deepEqual(servers.map(({ name, status }: { name: string; status: string }) => [name, status]), [["many-1", "ACTIVE"], ["many-2", "ACTIVE"], ["many-3", "ACTIVE"]]);
    assert.match(await world.refusal(403, "POST", "/servers", { body }), /^Quota exceeded for instances/);
    await world.base.assertAuditClean();
  });

  it("are refused with what makes none, and leave nothing", async () => {
    await using world = await ComputeWorld.open();
    const imageRef = await world.base.makeImage();
    for (const [what, fields, status, message] of UNFIT) {
      const server = { name: "one", imageRef, flavorRef: FLAVOR, networks: "none", ...fields };
      assert.match(await world.refusal(status, "POST", "/servers", { body: { server } }), message, what);
    }
    assert.deepEqual((await world.expect(200, "GET", "/servers")).servers, []);
    await world.base.assertAuditClean();
  });

  it("are changed: name, description, addresses, metadata, tags", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const path = `/servers/${id}`;
    const body = { server: { name: "two", description: "Second", accessIPv4: "10.0.0.1", "OS-DCF:diskConfig": "MANUAL" } };
    const { server } = await world.expect(200, "PUT", path, { body });
    assert.deepEqual([server.name, server.description, server.accessIPv4, server["OS-DCF:diskConfig"]], ["two", "Second", "10.0.0.1", "MANUAL"]);
    assert.equal("OS-EXT-STS:vm_state" in (await world.expect(200, "PUT", path, { minor: 74, body })).server, false);
    await world.refusal(400, "PUT", path, { body: { server: {} } });
    await world.refusal(400, "PUT", path, { minor: 18, body });

    assert.deepEqual(await world.expect(200, "POST", `${path}/metadata`, { body: { metadata: { a: "1", b: "2" } } }), { metadata: { a: "1", b: "2" } });
    assert.deepEqual(await world.expect(200, "PUT", `${path}/metadata/b`, { body: { meta: { b: "3" } } }), { meta: { b: "3" } });
    assert.deepEqual(await world.expect(200, "GET", `${path}/metadata/b`), { meta: { b: "3" } });
    await world.expect(204, "DELETE", `${path}/metadata/b`);
    await world.refusal(404, "DELETE", `${path}/metadata/b`);
    assert.deepEqual(await world.expect(200, "PUT", `${path}/metadata`, { body: { metadata: { c: "4" } } }), { metadata: { c: "4" } });

    assert.deepEqual(await world.expect(200, "PUT", `${path}/tags`, { body: { tags: ["b", "a"] } }), { tags: ["a", "b"] });
    const added = await world.ask("PUT", `${path}/tags/c`);
    assert.equal(added.statusCode, 201);
    assert.ok(String(added.headers.location).endsWith(`${path}/tags/c`));
    await world.expect(204, "PUT", `${path}/tags/c`);
    await world.expect(204, "GET", `${path}/tags/c`);
    await world.expect(204, "DELETE", `${path}/tags/c`);
    await world.refusal(404, "GET", `${path}/tags/c`);
    await world.expect(204, "DELETE", `${path}/tags`);
    assert.deepEqual((await world.expect(200, "GET", `${path}/tags`)).tags, []);
    await world.refusal(404, "GET", `${path}/tags`, { minor: 25 });
  });

  it("belong to their project", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const bob = await world.base.server.login("bob", "mirror");
    const carol = await world.base.server.login("carol", "wonderland", ["reader"]);
    await world.refusal(404, "GET", `/servers/${id}`, { as: bob });
    await world.refusal(404, "DELETE", `/servers/${id}`, { as: bob });
    await world.expect(200, "GET", `/servers/${id}`, { as: carol });
    await world.refusal(403, "DELETE", `/servers/${id}`, { as: carol });
    await world.refusal(403, "POST", `/servers/${id}/action`, { as: carol, body: { "os-stop": null } });
    assert.deepEqual((await world.expect(200, "GET", "/servers", { as: bob })).servers, []);
    await world.refusal(403, "GET", "/servers?all_tenants=1", { as: bob });
    assert.equal((await world.expect(200, "GET", "/servers?all_tenants=1", { as: world.admin })).servers.length, 1);
    assert.equal((await world.expect(200, "GET", `/servers?all_tenants=1&project_id=${bob.projectId}`, { as: world.admin })).servers.length, 0);
  });
});

describe("lists of servers", () => {
  it("are narrowed, sorted and paged", async () => {
    await using world = await ComputeWorld.open();
    const imageRef = await world.base.makeImage();
    const ids: string[] = [];
    for (const [name, tags] of [["web1", ["front"]], ["web2", ["front", "old"]], ["db", ["back"]]] as const) ids.push(await world.makeServer({ name, tags, imageRef }));
    const names = async (query: string, minor = 104) =>
      (await world.expect(200, "GET", `/servers?${query}`, { minor })).servers.map(({ name }: { name: string }) => name);
    assert.deepEqual(await names(""), ["db", "web2", "web1"]);
    assert.deepEqual(await names("sort_key=display_name&sort_dir=asc"), ["db", "web1", "web2"]);
    for (const [query, found] of [
      ["name=web", ["web2", "web1"]],
      ["name=^web1$", ["web1"]],
      ["status=ACTIVE", ["db", "web2", "web1"]],
      ["status=SHUTOFF", []],
      ["status=FLYING", []],
      [`image=${imageRef}`, ["db", "web2", "web1"]],
      [`flavor=${FLAVOR}`, ["db", "web2", "web1"]],
      ["flavor=1", []],
      ["tags=front", ["web2", "web1"]],
      ["tags=front,old", ["web2"]],
      ["tags-any=old,back", ["db", "web2"]],
      ["not-tags=front,old", ["db", "web1"]],
      ["not-tags-any=old,back", ["web1"]],
      ["locked=true", []],
      ["ip=10", []],
      [`uuid=${ids[0]}`, ["web1"]],
      ["changes-since=2100-01-01T00:00:00Z", []],
      ["changes-before=2100-01-01T00:00:00Z", ["db", "web2", "web1"]],
    ] as const) {
      assert.deepEqual(await names(query), found, query);
    }
    const page = await world.expect(200, "GET", "/servers?limit=2&name=web");
    assert.deepEqual([page.servers.length, page.servers_links], [2, undefined]);
    const first = await world.expect(200, "GET", "/servers?limit=2");
    assert.deepEqual(await names(new URL(first.servers_links[0].href).search.slice(1)), ["web1"]);
    await world.refusal(400, "GET", "/servers?marker=none");
    await world.refusal(400, "GET", "/servers?changes-since=yesterday");
    await world.refusal(400, "GET", "/servers?colour=red");
    await world.expect(200, "GET", "/servers?colour=red", { minor: 74 });
    assert.deepEqual(await names("tags=front", 25), ["db", "web2", "web1"], "had no effect before");
    assert.equal((await world.expect(200, "GET", "/servers/detail?limit=1")).servers[0].status, "ACTIVE");
  });
});

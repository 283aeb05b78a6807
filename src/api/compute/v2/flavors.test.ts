import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

const names = (body: { flavors: { name: string }[] }) => body.flavors.map(({ name }) => name);
const CLASSIC = ["m1.tiny", "m1.small", "m1.medium", "m1.large", "m1.nano", "m1.xlarge"];

async function makeFlavor(world: ComputeWorld, fields: object = {}): Promise<string> {
  const flavor = { name: "big", ram: 1024, vcpus: 2, disk: 10, ...fields };
  return (await world.expect(200, "POST", "/flavors", { as: world.admin, body: { flavor } })).flavor.id;
}

describe("flavors", () => {
  it("are there from the start, as Nova had them", async () => {
    await using world = await ComputeWorld.open();
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors")), CLASSIC);
    const { flavor } = await world.expect(200, "GET", "/flavors/42", { minor: 1 });
    const { links, ...fields } = flavor;
    assert.deepEqual(fields, {
      id: "42",
      name: "m1.nano",
      ram: 192,
      disk: 1,
      swap: "",
      vcpus: 1,
      "OS-FLV-EXT-DATA:ephemeral": 0,
      "OS-FLV-DISABLED:disabled": false,
      "os-flavor-access:is_public": true,
      rxtx_factor: 1,
    });
    assert.deepEqual(links.map(({ rel }: { rel: string }) => rel), ["self", "bookmark"]);
    assert.match(links[0].href, /\/compute\/v2\.1\/flavors\/42$/);
  });

  it("show what their microversion has", async () => {
    await using world = await ComputeWorld.open();
    const at = async (minor: number) => Object.keys((await world.expect(200, "GET", "/flavors/1", { minor })).flavor);
    assert.ok(!(await at(54)).includes("description"));
    assert.ok((await at(55)).includes("description") && !(await at(60)).includes("extra_specs"));
    assert.ok((await at(61)).includes("extra_specs") && (await at(101)).includes("rxtx_factor"));
    assert.ok(!(await at(102)).includes("rxtx_factor") && !(await at(102)).includes("OS-FLV-DISABLED:disabled"));
    assert.equal((await world.expect(200, "GET", "/flavors/1", { minor: 75 })).flavor.swap, 0);
  });

  it("are made, described and deleted by admins", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const body = { flavor: { name: "big", id: "big.1", ram: "1024", vcpus: 2, disk: 0, swap: 512, "OS-FLV-EXT-DATA:ephemeral": 5, description: "Big" } };
    await world.refusal(403, "POST", "/flavors", { body });
    const { flavor } = await world.expect(200, "POST", "/flavors", { as, body });
    assert.deepEqual([flavor.id, flavor.ram, flavor.swap, flavor["OS-FLV-EXT-DATA:ephemeral"], flavor.description], ["big.1", 1024, 512, 5, "Big"]);
    assert.equal(await world.refusal(409, "POST", "/flavors", { as, body }), "Flavor with ID big.1 already exists.");
    const again = { flavor: { ...body.flavor, id: null } };
    assert.equal(await world.refusal(409, "POST", "/flavors", { as, body: again }), "Flavor with name big already exists.");
    assert.equal((await world.expect(200, "PUT", "/flavors/big.1", { as, body: { flavor: { description: null } } })).flavor.description, null);
    await world.refusal(404, "PUT", "/flavors/none", { as, body: { flavor: { description: null } } });
    await world.refusal(403, "DELETE", "/flavors/big.1");
    await world.expect(202, "DELETE", "/flavors/big.1", { as });
    assert.equal(await world.refusal(404, "GET", "/flavors/big.1"), "Flavor big.1 could not be found.");
    await world.refusal(404, "DELETE", "/flavors/big.1", { as });
  });

  for (const [what, fields, minor] of [
    ["no name", { name: undefined }, 104],
    ["a blank name", { name: "  " }, 104],
    ["no memory", { ram: 0 }, 104],
    ["a negative disk", { disk: -1 }, 104],
    ["an unknown field", { colour: "red" }, 1],
    ["a description too early", { description: "x" }, 54],
    ["rxtx_factor too late", { rxtx_factor: 1 }, 102],
    ["an id with slashes", { id: "a/b" }, 104],
  ] as const) {
    it(`are refused with ${what}`, async () => {
      await using world = await ComputeWorld.open();
      const flavor = { name: "big", ram: 1024, vcpus: 2, disk: 10, ...fields };
      await world.refusal(400, "POST", "/flavors", { as: world.admin, minor, body: { flavor } });
    });
  }

  it("are listed by what they have, in order, in pages", async () => {
    await using world = await ComputeWorld.open();
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors?minRam=8192")), ["m1.large", "m1.xlarge"]);
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors/detail?minDisk=80&sort_key=root_gb&sort_dir=desc")), ["m1.xlarge", "m1.large"]);
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors?name=m1.tiny")), ["m1.tiny"]);
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors?name=m1.tiny", { minor: 74 })), CLASSIC, "had no effect before");
    const page = await world.expect(200, "GET", "/flavors?limit=4");
    assert.deepEqual(names(page), CLASSIC.slice(0, 4));
    const next = new URL(page.flavors_links[0].href);
    assert.equal(next.searchParams.get("marker"), "4");
    const last = await world.expect(200, "GET", `/flavors${next.search}`);
    assert.deepEqual(names(last), CLASSIC.slice(4));
    assert.equal(last.flavors_links, undefined);
    assert.equal(await world.refusal(400, "GET", "/flavors?marker=none"), "marker [none] not found");
    assert.equal(await world.refusal(400, "GET", "/flavors?minRam=x"), "Invalid minRam filter [x]");
    await world.refusal(400, "GET", "/flavors?sort_key=colour");
    await world.refusal(400, "GET", "/flavors?sort_dir=up");
    assert.match(await world.refusal(400, "GET", "/flavors?colour=red", { minor: 75 }), /'colour' was unexpected/);
    await world.expect(200, "GET", "/flavors?colour=red", { minor: 74 });
  });

  it("can be private to some projects", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const id = await makeFlavor(world, { name: "secret", "os-flavor-access:is_public": false });
    const act = (action: string, tenant = world.alice.projectId) => world.ask("POST", `/flavors/${id}/action`, { as, body: { [action]: { tenant } } });
    await world.refusal(404, "GET", `/flavors/${id}`);
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors?is_public=None")), CLASSIC);
    assert.deepEqual(names(await world.expect(200, "GET", "/flavors?is_public=false", { as })), ["secret"]);
    assert.equal(names(await world.expect(200, "GET", "/flavors?is_public=None", { as })).length, CLASSIC.length + 1);

    const granted = await act("addTenantAccess");
    assert.deepEqual([granted.statusCode, granted.json()], [200, { flavor_access: [{ flavor_id: id, tenant_id: world.alice.projectId }] }]);
    assert.equal((await act("addTenantAccess")).statusCode, 409);
    assert.equal((await act("addTenantAccess", "nobody")).json().badRequest.message, "Project ID nobody is not a valid project.");
    await world.expect(200, "GET", `/flavors/${id}`);
    assert.ok(names(await world.expect(200, "GET", "/flavors")).includes("secret"));
    assert.equal((await world.expect(200, "GET", `/flavors/${id}/os-flavor-access`, { as })).flavor_access.length, 1);

    assert.deepEqual((await act("removeTenantAccess")).json(), { flavor_access: [] });
    assert.equal((await act("removeTenantAccess")).statusCode, 404);
    assert.equal((await act("fly")).statusCode, 400);
    await world.refusal(404, "GET", "/flavors/1/os-flavor-access", { as });
    await world.refusal(409, "POST", "/flavors/1/action", { as, body: { addTenantAccess: { tenant: world.alice.projectId } } });
  });

  it("have extra specs", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const path = "/flavors/1/os-extra_specs";
    const extra_specs = { "hw:cpu_policy": "shared", "quota:disk_read_iops_sec": 100 };
    const shown = { "hw:cpu_policy": "shared", "quota:disk_read_iops_sec": "100" };
    await world.refusal(403, "POST", path, { body: { extra_specs } });
    assert.deepEqual(await world.expect(200, "POST", path, { as, body: { extra_specs } }), { extra_specs: shown });
    assert.deepEqual(await world.expect(200, "GET", path), { extra_specs: shown });
    assert.deepEqual((await world.expect(200, "GET", "/flavors/1")).flavor.extra_specs, shown);
    assert.deepEqual(await world.expect(200, "PUT", `${path}/hw:cpu_policy`, { as, body: { "hw:cpu_policy": "dedicated" } }), { "hw:cpu_policy": "dedicated" });
    assert.deepEqual(await world.expect(200, "GET", `${path}/hw:cpu_policy`), { "hw:cpu_policy": "dedicated" });
    await world.refusal(400, "PUT", `${path}/hw:cpu_policy`, { as, body: { other: "x" } });
    await world.refusal(400, "POST", path, { as, body: { extra_specs: { "a/b": "c" } } });
    await world.expect(200, "DELETE", `${path}/hw:cpu_policy`, { as });
    assert.equal(await world.refusal(404, "GET", `${path}/hw:cpu_policy`), "Flavor 1 has no extra specs with key hw:cpu_policy.");
    await world.refusal(404, "DELETE", `${path}/hw:cpu_policy`, { as });
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

describe("versions", () => {
  it("are shown without a token", async () => {
    await using world = await ComputeWorld.open();
    const { server } = world.base;
    const all = (await server.request("GET", "/compute/")).json();
    const one = (await server.request("GET", "/compute/v2.1/")).json();
    assert.deepEqual(all.versions, [one.version]);
    const { id, status, version, min_version } = one.version;
    assert.deepEqual([id, status, version, min_version], ["v2.1", "CURRENT", "2.104", "2.1"]);
  });

  it("are asked for by the new header, the old one, or not at all", async () => {
    await using world = await ComputeWorld.open();
    const { server, alice } = world.base;
    for (const [headers, minor] of [
      [{}, 1],
      [{ "openstack-api-version": "compute 2.53" }, 53],
      [{ "openstack-api-version": "compute latest" }, 104],
      [{ "x-openstack-nova-api-version": "2.12" }, 12],
      [{ "x-openstack-nova-api-version": "latest" }, 104],
      [{ "openstack-api-version": "volume 3.59", "x-openstack-nova-api-version": "2.3" }, 3],
      [{ "openstack-api-version": "compute 2.60", "x-openstack-nova-api-version": "2.3" }, 60],
    ] as const) {
      const answer = await server.request("GET", "/compute/v2.1/flavors", { token: alice.token, headers });
      assert.equal(answer.statusCode, 200);
      assert.equal(answer.headers["openstack-api-version"], `compute 2.${minor}`);
      assert.equal(answer.headers["x-openstack-nova-api-version"], `2.${minor}`);
      assert.equal(answer.headers.vary, "OpenStack-API-Version, X-OpenStack-Nova-API-Version");
      assert.equal(answer.headers["x-compute-request-id"], answer.headers["x-openstack-request-id"]);
    }
  });

  it("out of range, malformed, or without the call are refused", async () => {
    await using world = await ComputeWorld.open();
    const { server, alice } = world.base;
    const { token } = alice;
    for (const [version, status] of [["2.0", 406], ["2.105", 406], ["3.0", 406], ["2.x", 400]] as const) {
      for (const headers of [{ "openstack-api-version": `compute ${version}` }, { "x-openstack-nova-api-version": version }]) {
        assert.equal((await server.request("GET", "/compute/v2.1/flavors", { token, headers })).statusCode, status, version);
      }
    }
    await world.refusal(404, "PUT", "/flavors/1", { minor: 54, as: world.admin, body: { flavor: { description: "x" } } });
    assert.equal((await server.request("GET", "/compute/v2.1/flavors")).statusCode, 401);
  });
});

describe("extensions", () => {
  it("are listed and shown by alias", async () => {
    await using world = await ComputeWorld.open();
    const { extensions } = await world.expect(200, "GET", "/extensions");
    assert.ok(extensions.some(({ alias }: { alias: string }) => alias === "os-keypairs"));
    assert.equal((await world.expect(200, "GET", "/extensions/os-quota-sets")).extension.name, "Quotas");
    await world.refusal(404, "GET", "/extensions/os-fly");
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

async function act(world: ComputeWorld, id: string, body: object, status = 202, as = world.alice) {
  return world.expect(status, "POST", `/servers/${id}/action`, { as, body });
}

describe("actions on servers", () => {
  it("stop, start, reboot, pause and suspend them", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    for (const [action, argument, status, power] of [
      ["os-stop", null, "SHUTOFF", 4],
      ["os-start", null, "ACTIVE", 1],
      ["reboot", { type: "SOFT" }, "ACTIVE", 1],
      ["reboot", { type: "hard" }, "ACTIVE", 1],
      ["pause", null, "PAUSED", 3],
      ["unpause", null, "ACTIVE", 1],
      ["suspend", null, "SUSPENDED", 7],
      ["resume", null, "ACTIVE", 1],
    ] as const) {
      await act(world, id, { [action]: argument });
      await world.base.settle();
      const { server } = await world.expect(200, "GET", `/servers/${id}`);
      assert.deepEqual([server.status, server["OS-EXT-STS:power_state"]], [status, power], `${action}: ${JSON.stringify(server.fault)}`);
    }
    const { instanceActions } = await world.expect(200, "GET", `/servers/${id}/os-instance-actions`);
    assert.deepEqual(new Set(instanceActions.map(({ action }: { action: string }) => action)), new Set(["create", "stop", "start", "reboot", "pause", "unpause", "suspend", "resume"]));
    assert.equal((await world.expect(200, "GET", `/servers/${id}/os-instance-actions?limit=2`)).instanceActions.length, 2);
    await world.base.assertAuditClean();
  });

  it("are refused in the wrong state, in Nova's words", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const path = `/servers/${id}/action`;
    for (const name of ["os-start", "unpause", "resume"]) {
      assert.equal(await world.refusal(409, "POST", path, { body: { [name]: null } }), `Cannot '${name}' instance ${id} while it is in vm_state active`);
    }
    await world.refusal(400, "POST", path, { body: { reboot: { type: "soon" } } });
    await world.refusal(400, "POST", path, { body: { fly: null } });
    await world.refusal(400, "POST", path, { body: {} });
    assert.match(await world.refusal(400, "POST", path, { as: world.admin, body: { migrate: null } }), /^No valid host was found/);
    await world.refusal(404, "POST", "/servers/none/action", { body: { migrate: null } });
    assert.match(await world.refusal(409, "POST", path, { as: world.admin, body: { shelveOffload: null } }), /^Cannot 'shelveOffload' instance/);
    await world.refusal(400, "POST", path, { minor: 90, body: { unshelve: { host: "moon" } } });
    await world.refusal(400, "POST", path, { as: world.admin, body: { unshelve: { host: "moon" } } });
    assert.match(await world.refusal(403, "POST", path, { body: { unshelve: { host: "moon" } } }), /choose the host of a server/);
    assert.match(await world.refusal(403, "POST", path, { body: { shelveOffload: null } }), /take shelved servers off their hosts/);
    assert.match(await world.refusal(400, "POST", path, { body: { unshelve: { availability_zone: "moon" } } }), /zone is not available/);
  });

  it("lock and unlock", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await act(world, id, { lock: { locked_reason: "mine" } });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.locked, server.locked_reason], [true, "mine"]);
    assert.equal((await act(world, id, { "os-stop": null }, 409)).conflictingRequest.message, `Instance ${id} is locked`);
    await act(world, id, { unlock: null });
    assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server.locked, false);
    await act(world, id, { lock: null }, 202, world.admin);
    await act(world, id, { unlock: null }, 403);
    await act(world, id, { unlock: null }, 202, world.admin);
    await world.expect(202, "POST", `/servers/${id}/action`, { minor: 72, body: { lock: { locked_reason: "unheard" } } });
    assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server.locked_reason, null);
  });

  it("read the console, and reset states", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    assert.equal(typeof (await act(world, id, { "os-getConsoleOutput": {} }, 200)).output, "string");
    assert.ok((await act(world, id, { "os-getConsoleOutput": { length: 1 } }, 200)).output.split("\n").length <= 2);
    await act(world, id, { "os-resetState": { state: "error" } }, 403);
    await act(world, id, { "os-resetState": { state: "error" } }, 202, world.admin);
    assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server.status, "ERROR");
    await act(world, id, { "os-resetState": { state: "flying" } }, 400, world.admin);
    await act(world, id, { forceDelete: null });
    await world.base.assertAuditClean();
  });

  it("come with what else can be asked of a server", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    assert.deepEqual(await world.expect(200, "GET", `/servers/${id}/ips`), { addresses: {} });
    await world.refusal(404, "GET", `/servers/${id}/ips/net`);
    assert.deepEqual(await world.expect(200, "GET", `/servers/${id}/os-interface`), { interfaceAttachments: [] });
    const diagnostics = await world.expect(200, "GET", `/servers/${id}/diagnostics`, { as: world.admin });
    assert.deepEqual([diagnostics.state, diagnostics.num_cpus, diagnostics.disk_details.length], ["running", 1, 1]);
    assert.ok("vda_read" in (await world.expect(200, "GET", `/servers/${id}/diagnostics`, { as: world.admin, minor: 47 })));
    await world.refusal(403, "GET", `/servers/${id}/diagnostics`);
  });

  it("take events of other services", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const as = world.admin;
    const send = (status: number, events: object[], minor = 104) => world.expect(status, "POST", "/os-server-external-events", { as, minor, body: { events } });
    const event = { name: "volume-extended", server_uuid: id, tag: "v" };
    assert.deepEqual((await send(200, [event])).events, [{ ...event, status: "completed", code: 200 }]);
    const lost = { name: "network-changed", server_uuid: "none" };
    assert.deepEqual((await send(207, [event, lost])).events.map(({ code }: { code: number }) => code), [200, 404]);
    await send(404, [lost]);
    await send(400, [event], 50);
    await send(400, []);
    await world.refusal(403, "POST", "/os-server-external-events", { body: { events: [event] } });
  });
});

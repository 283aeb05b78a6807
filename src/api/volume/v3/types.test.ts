import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TestWorld } from "./test-world.ts";

async function makeType(world: TestWorld, fields: object): Promise<string> {
  return (await world.expect(200, "POST", "/types", { as: world.admin, body: { volume_type: fields } })).volume_type.id;
}

const typeNames = (body: { volume_types: { name: string }[] }) => body.volume_types.map(({ name }) => name).toSorted();

describe("volume types", () => {
  it("have a default, which stays", async () => {
    await using world = await TestWorld.open();
    const { volume_type: type } = await world.expect(200, "GET", "/types/default");
    assert.deepEqual([type.name, type.is_public, type["os-volume-type-access:is_public"]], ["__DEFAULT__", true, true]);
    assert.match(
      await world.refusal(400, "DELETE", `/types/${type.id}`, { as: world.admin }),
      /is the default volume type and cannot be deleted\.$/,
    );
    await world.refusal(400, "PUT", `/types/${type.id}`, { as: world.admin, body: { volume_type: { name: "other" } } });
    await world.context.db.transaction().execute(async () => undefined);
    await world.storage.volumeTypes.bootstrap();
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types")), ["__DEFAULT__"]);
  });

  it("are made, changed and deleted by admins", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    const id = await makeType(world, { name: "gold", description: "fast", extra_specs: { volume_backend_name: "local" } });
    assert.equal(
      await world.refusal(409, "POST", "/types", { as, body: { volume_type: { name: "gold" } } }),
      "Volume Type gold already exists.",
    );
    await world.refusal(400, "POST", "/types", { as, body: { volume_type: { name: "" } } });
    await world.refusal(400, "POST", "/types", { as, body: { volume_type: { name: "  " } } });
    await world.refusal(400, "POST", "/types", { as, body: { volume_type: {} } });
    const { volume_type: changed } = await world.expect(200, "PUT", `/types/${id}`, {
      as,
      body: { volume_type: { description: "faster" } },
    });
    assert.deepEqual([changed.name, changed.description, changed.extra_specs], ["gold", "faster", { volume_backend_name: "local" }]);
    await world.refusal(409, "PUT", `/types/${id}`, { as, body: { volume_type: { name: "__DEFAULT__" } } });
    await world.refusal(404, "PUT", "/types/none", { as, body: { volume_type: { name: "x" } } });
    await world.expect(202, "DELETE", `/types/${id}`, { as });
    assert.equal(await world.refusal(404, "GET", `/types/${id}`), `Volume type ${id} could not be found.`);
    assert.deepEqual(
      await world.expect(200, "GET", `/types/${(await world.expect(200, "GET", "/types/default")).volume_type.id}/encryption`),
      {},
    );
  });

  it("are named by id or by name, and stay while a volume has them", async () => {
    await using world = await TestWorld.open();
    const id = await makeType(world, { name: "gold" });
    const byName = await world.makeVolume({ volume_type: "gold" });
    const byId = await world.makeVolume({ volume_type: id });
    for (const volume of [byName, byId]) {
      const shown = (await world.expect(200, "GET", `/volumes/${volume}`)).volume;
      assert.deepEqual([shown.volume_type, shown.volume_type_id], ["gold", id]);
    }
    assert.equal(await world.refusal(400, "DELETE", `/types/${id}`, { as: world.admin }), "Target volume type is still in use.");
    const clone = await world.makeVolume({ source_volid: byName });
    assert.equal((await world.expect(200, "GET", `/volumes/${clone}`)).volume.volume_type, "gold");
  });

  it("take their part of the quota along when they are renamed", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    const id = await makeType(world, { name: "gold" });
    await world.expect(200, "PUT", `/os-quota-sets/${world.alice.projectId}`, { as, body: { quota_set: { volumes_gold: 1 } } });
    await world.makeVolume({ volume_type: "gold" });
    await world.expect(200, "PUT", `/types/${id}`, { as, body: { volume_type: { name: "silver" } } });
    const message = await world.refusal(413, "POST", "/volumes", { body: { volume: { size: 1, volume_type: "silver" } } });
    assert.equal(message, "Maximum number of volumes allowed (1) exceeded for quota 'volumes_silver'.");
    await world.assertAuditClean();
  });

  it("send volumes to the pool that they name, or nowhere", async () => {
    await using world = await TestWorld.open();
    await makeType(world, { name: "here", extra_specs: { volume_backend_name: "local" } });
    await makeType(world, { name: "there", extra_specs: { volume_backend_name: "moon" } });
    const id = await world.makeVolume({ volume_type: "here" });
    const { volume } = await world.expect(200, "GET", `/volumes/${id}`, { as: world.admin });
    assert.equal(volume["os-vol-host-attr:host"], "mica@local#local");
    assert.match(
      await world.refusal(400, "POST", "/volumes", { body: { volume: { size: 1, volume_type: "there" } } }),
      /No pool fits volume type "there": pool "local": its volume_backend_name is "local", and the type wants moon/,
    );
  });

  it("send volumes to pools with the capabilities that they ask for, by Cinder's operators", async () => {
    await using world = await TestWorld.open();
    await makeType(world, { name: "thin", extra_specs: { "capabilities:thin_provisioning_support": "<is> True", free_capacity_gb: ">= 1", "other:scope": "x" } });
    await makeType(world, { name: "vast", extra_specs: { "capabilities:total_capacity_gb": ">= 100000" } });
    await makeType(world, { name: "odd", extra_specs: { colour: "<in> red" } });
    await world.makeVolume({ volume_type: "thin" });
    for (const [volume_type, message] of [
      ["vast", /its total_capacity_gb is 100, and the type wants >= 100000/],
      ["odd", /it has no capability "colour"/],
    ] as const) {
      assert.match(await world.refusal(400, "POST", "/volumes", { body: { volume: { size: 1, volume_type } } }), message);
    }
  });

  it("can be private to some projects", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    const id = await makeType(world, { name: "secret", "os-volume-type-access:is_public": false });
    const act = (name: string, project = world.alice.projectId) =>
      world.ask("POST", `/types/${id}/action`, { as, body: { [name]: { project } } });
    await world.refusal(404, "GET", `/types/${id}`);
    await world.refusal(404, "POST", "/volumes", { body: { volume: { size: 1, volume_type: "secret" } } });
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types")), ["__DEFAULT__"]);
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types", { as })), ["__DEFAULT__"]);
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types?is_public=None", { as })), ["__DEFAULT__", "secret"]);
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types?is_public=false", { as })), ["secret"]);
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types?is_public=None")), ["__DEFAULT__"]);

    assert.equal((await act("addProjectAccess")).statusCode, 202);
    assert.equal((await act("addProjectAccess")).statusCode, 409);
    const { volume_type_access: access } = await world.expect(200, "GET", `/types/${id}/os-volume-type-access`, { as });
    assert.deepEqual(access, [{ volume_type_id: id, project_id: world.alice.projectId }]);
    await world.expect(200, "GET", `/types/${id}`);
    assert.deepEqual(typeNames(await world.expect(200, "GET", "/types")), ["__DEFAULT__", "secret"]);
    await world.makeVolume({ volume_type: "secret" });

    assert.equal((await act("removeProjectAccess")).statusCode, 202);
    assert.equal((await act("removeProjectAccess")).statusCode, 404);
    assert.equal((await act("fly")).statusCode, 400);
    const open = (await world.expect(200, "GET", "/types/default")).volume_type.id;
    await world.refusal(404, "GET", `/types/${open}/os-volume-type-access`, { as });
    await world.refusal(400, "POST", `/types/${open}/action`, { as, body: { addProjectAccess: { project: "p" } } });
  });

  it("show users only the extra specs that concern them", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    const id = await makeType(world, { name: "gold" });
    const path = `/types/${id}/extra_specs`;
    const specs = { volume_backend_name: "local", multiattach: "<is> False" };
    assert.deepEqual(await world.expect(200, "POST", path, { as, body: { extra_specs: specs } }), { extra_specs: specs });
    assert.deepEqual(await world.expect(200, "GET", path, { as }), { extra_specs: specs });
    assert.deepEqual(await world.expect(200, "GET", path), { extra_specs: { multiattach: "<is> False" } });
    assert.deepEqual(await world.expect(200, "GET", `${path}/volume_backend_name`, { as }), { volume_backend_name: "local" });
    await world.refusal(404, "GET", `${path}/volume_backend_name`);
    assert.deepEqual(await world.expect(200, "PUT", `${path}/volume_backend_name`, { as, body: { volume_backend_name: "x" } }), {
      volume_backend_name: "x",
    });
    await world.refusal(400, "PUT", `${path}/volume_backend_name`, { as, body: { other: "x" } });
    await world.refusal(400, "POST", path, { as, body: { extra_specs: {} } });
    await world.refusal(400, "POST", path, { as, body: { extra_specs: { "a/b": "c" } } });
    await world.expect(202, "DELETE", `${path}/volume_backend_name`, { as });
    await world.refusal(404, "DELETE", `${path}/volume_backend_name`, { as });
    const filtered = await world.expect(200, "GET", `/types?extra_specs=${encodeURIComponent("{'multiattach': '<is> False'}")}`, { as });
    assert.deepEqual(typeNames(filtered), ["gold"]);
  });

  it("are found by name by admins, as cinderclient looks for them", async () => {
    await using world = await TestWorld.open();
    await makeType(world, { name: "gold" });
    const path = "/types?is_public=None&name=gold";
    assert.deepEqual(typeNames(await world.expect(200, "GET", path, { as: world.admin })), ["gold"]);
    assert.deepEqual(typeNames(await world.expect(200, "GET", path, { minor: 30 })), ["__DEFAULT__", "gold"], "had no effect before 3.31");
    assert.match(await world.refusal(400, "GET", path), /^Invalid filters name are found in query options\.$/);
  });
});

import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { describe, it } from "node:test";
import { serverFolder } from "#/vm/server-folder.ts";
import { ComputeWorld } from "./test-world.ts";

/** What the server's config drive says of it; an ISO image has its files as they are. */
async function toldIn(world: ComputeWorld, id: string): Promise<string | undefined> {
  const { configDrivePath } = serverFolder(world.serversDir, id);
  const drive = await readFile(configDrivePath, "latin1");
  assert.equal((await stat(configDrivePath)).mode & 0o777, 0o600);
  assert.match(drive, new RegExp(`"uuid":"${id}"`));
  return /"admin_pass":"([^"]*)"/.exec(drive)?.[1];
}

async function create(world: ComputeWorld, changes: object = {}): Promise<{ id: string; adminPass?: string }> {
  const body = { server: { name: "one", imageRef: await world.base.makeImage(), flavorRef: "42", networks: "none", ...changes } };
  const { server } = await world.expect(202, "POST", "/servers", { body });
  await world.base.settle();
  return server;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape.
async function act(world: ComputeWorld, id: string, body: object, status = 202): Promise<any> {
  const answer = await world.expect(status, "POST", `/servers/${id}/action`, { body });
  await world.base.settle();
  return answer;
}

/** Every row of every table, as text. */
async function allRecords(world: ComputeWorld): Promise<string> {
  const { db } = world.base.context;
  const tables = (await db.introspection.getTables()).map(({ name }) => name);
  const rows = await Promise.all(tables.map((name) => db.selectFrom(name as "server").selectAll().execute()));
  return JSON.stringify(rows);
}

describe("the administrator's password", () => {
  it("is answered once, told by the config drive for as long as the disk is what it was made with, and in no record", async () => {
    await using world = await ComputeWorld.open();
    const { id, adminPass } = await create(world, { adminPass: "Geheim-1" });
    assert.deepEqual([adminPass, await toldIn(world, id)], ["Geheim-1", "Geheim-1"]);
    assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server.adminPass, undefined);
    await act(world, id, { reboot: { type: "HARD" } });
    assert.equal(await toldIn(world, id), "Geheim-1");
    const records = await allRecords(world);
    assert.ok(records.includes(id) && !records.includes("Geheim-1"));
  });

  it("is made where none is given, at a create and at a rebuild", async () => {
    await using world = await ComputeWorld.open();
    const { id, adminPass = "" } = await create(world);
    assert.match(adminPass, /^\w{12}$/);
    assert.equal(await toldIn(world, id), adminPass);
    const { server } = await act(world, id, { rebuild: { imageRef: await world.base.makeImage() } });
    assert.match(server.adminPass, /^\w{12}$/);
    assert.notEqual(server.adminPass, adminPass);
    assert.equal(await toldIn(world, id), server.adminPass);
    const given = await act(world, id, { rebuild: { imageRef: await world.base.makeImage(), adminPass: "Geheim-2" } });
    assert.deepEqual([given.server.adminPass, await toldIn(world, id)], ["Geheim-2", "Geheim-2"]);
    assert.ok(!(await allRecords(world)).includes("Geheim-2"));
  });

  it("of a rescued server is another, until it is rescued no more", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await create(world, { adminPass: "Geheim-1" });
    assert.deepEqual(await act(world, id, { rescue: { adminPass: "Geheim-3" } }, 200), { adminPass: "Geheim-3" });
    assert.equal(await toldIn(world, id), "Geheim-3");
    await act(world, id, { unrescue: null });
    assert.equal(await toldIn(world, id), "Geheim-1");
  });

  it("is not told again where a server comes back from its image, and none where an empty one is given", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await create(world, { adminPass: "Geheim-1" });
    await act(world, id, { shelve: null });
    await act(world, id, { unshelve: null });
    assert.equal(await toldIn(world, id), undefined);
    const { id: other, adminPass } = await create(world, { adminPass: "" });
    assert.deepEqual([adminPass, await toldIn(world, other)], ["", undefined]);
  });

  it("is not answered where the operator wants that, and still told to the guest", async () => {
    await using world = await ComputeWorld.open();
    Object.assign(world.base.context.config.servers, { enableInstancePassword: false });
    const { id, adminPass } = await create(world);
    assert.equal(adminPass, undefined);
    assert.match((await toldIn(world, id)) ?? "", /^\w{12}$/);
    const { server } = await act(world, id, { rebuild: { imageRef: await world.base.makeImage() } });
    assert.equal(server.adminPass, undefined);
    assert.deepEqual(await act(world, id, { rescue: null }, 200), {});
  });

  it("is kept nowhere for a server without a config drive", async () => {
    await using world = await ComputeWorld.open();
    const { id, adminPass } = await create(world, { config_drive: false, adminPass: "Geheim-1" });
    assert.equal(adminPass, "Geheim-1");
    const { path } = serverFolder(world.serversDir, id);
    await assert.rejects(readFile(`${path}/admin-password`), { code: "ENOENT" });
  });
});

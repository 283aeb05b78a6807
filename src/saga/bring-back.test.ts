import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { updateServer } from "#/db/servers.ts";
import { updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { operationId } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { createServer } from "#/saga/create-server.ts";
import { deleteServer } from "#/saga/delete-server.ts";
import { type RebuildServer, rebuildServer } from "#/saga/rebuild-server.ts";
import { rescueServer } from "#/saga/rescue-server.ts";
import { swapVolume } from "#/saga/swap-volume.ts";
import { assertAttached, reserve } from "../../test/support/attachments.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { rescuing, ServerWorld } from "../../test/support/server-world.ts";

async function rebuilding(world: ServerWorld): Promise<RebuildServer> {
  const serverId = await world.addRunning(someContent());
  await updateServer(world.db, serverId, { task_state: "rebuilding" });
  const imageId = await world.sagas.addImage(someContent(), { pool: "slow" });
  const [root] = await world.devices(serverId);
  assert.ok(root?.disk_id);
  const before = { imageId: (await world.server(serverId))?.image_id ?? null, properties: "{}", form: null };
  const plan = await world.planDisk(imageId, GiB);
  return { serverId, deviceId: root.id, volumeId: null, plan, newDiskId: randomUUID(), oldDiskId: root.disk_id, before, after: { ...before, imageId }, vmState: "active" };
}

/** From now on guests do not start; the answer lets them again. */
function refuseToStart(world: ServerWorld): () => void {
  world.host.hooks.before = (method) => {
    if (method === "start") throw new AppError("tool_failed", "QEMU cannot open a disk");
  };
  return () => {
    world.host.hooks.before = () => {};
  };
}

/** The pool of the servers' disks removes nothing until the answer is called. */
function refuseToDelete(world: ServerWorld): () => void {
  const pool = [...world.sagas.services.pools].find(({ name }) => name === "fast");
  assert.ok(pool);
  const real = pool.delete.bind(pool);
  pool.delete = async () => Promise.reject(new AppError("pool_unavailable", "the pool is down"));
  return () => {
    pool.delete = real;
  };
}

describe("bringBack(), and what is undone with it", () => {
  it("leaves a guest off that starts neither on its new disk nor on its old one: the server says so, and can be deleted", async () => {
    await using world = await ServerWorld.open();
    const params = await rebuilding(world);
    const restore = refuseToStart(world);
    assert.equal((await world.run(rebuildServer, params)).state, "undone");
    await world.assertState(params.serverId, "stopped");
    assert.match(await world.fault(params.serverId), /QEMU cannot open/);
    restore();
    await world.sagas.assertAuditClean();
    assert.equal((await world.run(deleteServer, { serverId: params.serverId })).state, "done");
    await world.sagas.assertAuditClean();
  });

  it("ends, without a guest, when the server was deleted before the hypervisor was back", async () => {
    await using world = await ServerWorld.open();
    const params = await rebuilding(world);
    world.host.hooks.before = (method) => {
      if (method === "start") world.host.goDown();
    };
    const stuck = await world.run(rebuildServer, params);
    assert.equal(stuck.state, "stuck");
    world.host.hooks.before = () => {};
    world.host.comeBack();
    for (const { name, run } of deleteServer.steps) {
      if (name !== "end others") await run(world.context({ serverId: params.serverId }), { signal: new AbortController().signal, progress: () => {} });
    }
    assert.equal((await world.sagas.runner.run(operationId(stuck.id))).state, "undone");
    assert.deepEqual(await world.guests(), []);
    await world.sagas.assertAuditClean();
  });

  it("does not keep a server from being deleted: while the hypervisor is away it says so, and it goes when that is back", async () => {
    await using world = await ServerWorld.open();
    const params = await rebuilding(world);
    world.host.hooks.before = (method) => {
      if (method === "start") world.host.goDown();
    };
    const stuck = await world.run(rebuildServer, params);
    assert.equal(stuck.state, "stuck");
    world.host.hooks.before = () => {};
    const { serverId } = params;
    assert.equal((await world.run(deleteServer, { serverId })).error_code, "hypervisor_unavailable");
    await world.assertState(serverId, "error");
    assert.equal(JSON.parse(await world.fault(serverId)).message, "The hypervisor of its host does not answer. An administrator finds more under the request req-1.");
    world.host.comeBack();
    assert.equal((await world.run(deleteServer, { serverId })).state, "done");
    assert.deepEqual(await world.guests(), []);
    await world.sagas.assertAuditClean();
  });

  it("boots a server that could not be rescued at once, also where its rescue disk cannot be removed yet", async () => {
    await using world = await ServerWorld.open();
    const params = await rescuing(world);
    await updateServer(world.db, params.serverId, { task_state: "rescuing" });
    const restore = refuseToDelete(world);
    let starts = 0;
    world.host.hooks.before = (method) => {
      if (method === "start" && starts++ === 0) throw new AppError("tool_failed", "QEMU cannot open a disk");
    };
    const stuck = await world.run(rescueServer, params);
    assert.equal(stuck.state, "stuck");
    assert.deepEqual((await world.guests()).map(({ state }) => state), ["running"]);
    restore();
    assert.equal((await world.sagas.runner.run(operationId(stuck.id))).state, "undone");
    await world.assertState(params.serverId, "active");
    await world.sagas.assertAuditClean();
  });

  it("gives a guest that died in the middle of a swap its old volume, and the new one back", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    assert.equal((await world.run(attachVolume, attached)).state, "done");
    const newVolumeId = await world.sagas.addVolume({ status: "reserved" }, someContent());
    const { serverId, deviceId, volumeId: oldVolumeId } = attached;
    await updateVolume(world.db, oldVolumeId, { status: "detaching" });
    world.host.hooks.before = (method) => {
      if (method === "replaceDisk") world.host.crash(serverId);
    };
    assert.equal((await world.run(swapVolume, { serverId, deviceId, oldVolumeId, newVolumeId })).state, "undone");
    assert.equal((await world.sagas.volume(newVolumeId))?.status, "available");
    await assertAttached(world, attached);
  });

  it("does not put a volume's new disk in the place of one that was extended meanwhile", async () => {
    await using world = await ServerWorld.open();
    const serverId = await world.addRunning(someContent());
    const volumeId = await world.sagas.addVolume({ status: "extending", attach_status: "attached" }, someContent());
    const params = { ...(await rebuilding(world)), serverId, volumeId };
    const swap = rebuildServer.steps.find(({ name }) => name === "swap");
    const scope = { signal: new AbortController().signal, progress: () => {} };
    await assert.rejects(async () => swap?.run(world.context(params), scope), /was extended while/);
    assert.equal((await world.sagas.volume(volumeId))?.disk_id, volumeId);
  });
});

describe("createServer", () => {
  it("says at once that it failed, also while the pool does not let its disk be removed", async () => {
    await using world = await ServerWorld.open();
    const image = await world.sagas.addImage(someContent(), { pool: "slow" });
    const [plan, deviceId] = [await world.planDisk(image), randomUUID()];
    const serverId = await world.addServer({ image_id: image }, [{ id: deviceId, source_id: image, size_bytes: MiB }]);
    const restore = refuseToDelete(world);
    refuseToStart(world);
    const stuck = await world.run(createServer, { serverId, disks: [{ deviceId, plan }], volumes: [] });
    assert.equal(stuck.state, "stuck");
    await world.assertState(serverId, "error");
    assert.match(await world.fault(serverId), /QEMU cannot open/);
    restore();
    assert.equal((await world.sagas.runner.run(operationId(stuck.id))).state, "undone");
    await world.sagas.assertAuditClean();
  });
});

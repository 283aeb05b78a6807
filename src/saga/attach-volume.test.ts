import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { insertDevice, updateDevice } from "#/db/block-devices.ts";
import { updateVolume } from "#/db/volumes.ts";
import { type AttachVolume, attachVolume } from "#/saga/attach-volume.ts";
import { detachVolume } from "#/saga/detach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { newDevice, ServerWorld } from "../../test/support/server-world.ts";

const content = someContent();

async function reserve(world: ServerWorld): Promise<AttachVolume & { volumeId: string }> {
  const serverId = await world.addRunning(content);
  const volumeId = await world.sagas.addVolume({ status: "reserved" }, content);
  const device = newDevice({ server_id: serverId, source: "volume", destination: "volume", target: "vdb", volume_id: volumeId });
  await insertDevice(world.db, device);
  return { serverId, deviceId: device.id, volumeId };
}

async function targets(world: ServerWorld, serverId: string): Promise<string[]> {
  const guest = await world.sagas.services.hypervisor.stat(serverId);
  return (guest?.disks ?? []).map(({ target }) => target).filter((target) => target.startsWith("vd"));
}

async function assertAttached(world: ServerWorld, { serverId, volumeId }: AttachVolume & { volumeId: string }): Promise<void> {
  const volume = await world.sagas.volume(volumeId);
  assert.deepEqual([volume?.status, volume?.attach_status], ["in-use", "attached"]);
  assert.deepEqual(await targets(world, serverId), ["vda", "vdb"]);
  assert.equal((await world.devices(serverId)).find(({ target }) => target === "vdb")?.state, "attached");
  await world.sagas.assertAuditClean();
}

async function assertFree(world: ServerWorld, { serverId, volumeId }: AttachVolume & { volumeId: string }): Promise<void> {
  const volume = await world.sagas.volume(volumeId);
  assert.deepEqual([volume?.status, volume?.attach_status], ["available", "detached"]);
  assert.deepEqual(await targets(world, serverId), ["vda"]);
  assert.equal((await world.devices(serverId)).length, 1);
  await world.sagas.assertAuditClean();
}

sagaContract("attachVolume", attachVolume, async () => {
  const world = await ServerWorld.open();
  const params = await reserve(world);
  return {
    context: world.context(params),
    assertDone: () => assertAttached(world, params),
    assertClean: () => assertFree(world, params),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

async function beginDetaching(world: ServerWorld): Promise<AttachVolume & { volumeId: string }> {
  const params = await reserve(world);
  assert.equal((await world.run(attachVolume, params)).state, "done");
  await updateVolume(world.db, params.volumeId, { status: "detaching" });
  await updateDevice(world.db, params.deviceId, { state: "detaching" });
  return params;
}

sagaContract("detachVolume", detachVolume, async () => {
  const world = await ServerWorld.open();
  const params = await beginDetaching(world);
  return {
    context: world.context(params),
    assertDone: () => assertFree(world, params),
    /** Either way nothing hangs in between: what was published stays published. */
    assertClean: async () => ((await world.devices(params.serverId)).length > 1 ? assertAttached(world, params) : assertFree(world, params)),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("detachVolume", () => {
  it("leaves the volume to a guest that does not let go of it", async () => {
    await using world = await ServerWorld.open();
    const params = await beginDetaching(world);
    const guest = world.host.guests.get(params.serverId);
    assert.ok(guest);
    guest.listens = false;
    const ended = await world.run(detachVolume, params);
    assert.equal(ended.error_code, "conflict");
    await assertAttached(world, params);
  });
});

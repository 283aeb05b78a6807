import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { updateDevice } from "#/db/block-devices.ts";
import { updateVolume } from "#/db/volumes.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { detachVolume } from "#/saga/detach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { powerServer } from "#/saga/power-server.ts";
import { type Attachment, assertAttached, assertFree, reserve } from "../../test/support/attachments.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

async function beginDetaching(world: ServerWorld): Promise<Attachment> {
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
  it("leaves the volume to a guest whose memory was saved meanwhile: it knows the disk", async () => {
    await using world = await ServerWorld.open();
    const params = await beginDetaching(world);
    await world.sagas.services.hypervisor.save(params.serverId);
    const ended = await world.run(detachVolume, params);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "conflict"]);
    await assertAttached(world, params);
  });

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

  it("leaves the volume to a guest that did not let go of it, and is rebooted just then", async () => {
    await using world = await ServerWorld.open();
    const params = await beginDetaching(world);
    world.host.get(params.serverId).listens = false;
    let hasFailed = false;
    let rebooted: Promise<unknown> | undefined;
    world.host.hooks.before = (method) => {
      if (method === "detachDisk") hasFailed = true;
    };
    world.host.hooks.after = async (method) => {
      if (method !== "stat" || !hasFailed) return;
      rebooted ??= world.run(powerServer, { serverId: params.serverId, action: "hardReboot" });
      await delay(500);
    };
    assert.equal((await world.run(detachVolume, params)).error_code, "conflict");
    await rebooted;
    await assertAttached(world, params);
  });

  it("frees the volume where the server leaves its host just then", async () => {
    await using world = await ServerWorld.open();
    const params = await beginDetaching(world);
    const { hypervisor } = world.sagas.services;
    world.host.hooks.before = async (method) => {
      if (method !== "detachDisk") return;
      await hypervisor.destroy(params.serverId);
      await hypervisor.undefine(params.serverId);
    };
    assert.equal((await world.run(detachVolume, params)).state, "done");
    assert.equal((await world.sagas.volume(params.volumeId))?.status, "available");
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { powerServer } from "#/saga/power-server.ts";
import { assertAttached, assertFree, reserve } from "../../test/support/attachments.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

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

describe("attachVolume", () => {
  it("leaves the volume free where the guest's memory was saved meanwhile: it does not know the disk", async () => {
    await using world = await ServerWorld.open();
    const params = await reserve(world);
    await world.sagas.services.hypervisor.save(params.serverId);
    const ended = await world.run(attachVolume, params);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "conflict"]);
    await assertFree(world, params);
  });

  it("leaves the volume free where it fails, and the guest is rebooted just then", async () => {
    await using world = await ServerWorld.open();
    const params = await reserve(world);
    let rebooted: Promise<unknown> | undefined;
    world.host.hooks.after = async (method) => {
      if (method === "attachDisk") throw new AppError("tool_failed", "QEMU has it, and libvirt could not say so");
      if (method !== "detachDisk") return;
      rebooted = world.run(powerServer, { serverId: params.serverId, action: "hardReboot" });
      await delay(500);
    };
    assert.equal((await world.run(attachVolume, params)).error_code, "tool_failed");
    await rebooted;
    await assertFree(world, params);
  });
});

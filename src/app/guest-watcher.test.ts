import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { loadConfig } from "#/config/load.ts";
import { updateServer } from "#/db/servers.ts";
import { GuestWatcher } from "#/app/guest-watcher.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

async function watched(): Promise<{ world: ServerWorld; serverId: string; watcher: GuestWatcher }> {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent());
  const { config } = loadConfig({ env: {}, flags: { dataDir: "/nowhere" } });
  const { services, runner } = world.sagas;
  return { world, serverId, watcher: new GuestWatcher({ ...services, runner, config }) };
}

async function until(look: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail("it did not come about");
}

describe("GuestWatcher", () => {
  it("shows a guest that died as stopped, at once", async () => {
    const { world, serverId, watcher } = await watched();
    await using _ = world;
    using __ = watcher;
    world.host.crash(serverId);
    await until(async () => (await world.server(serverId))?.vm_state === "stopped");
    assert.equal((await world.server(serverId))?.power_state, 6);
  });

  it("leaves a server alone that something is being done to", async () => {
    const { world, serverId, watcher } = await watched();
    await using _ = world;
    using __ = watcher;
    await updateServer(world.db, serverId, { task_state: "rebooting" });
    await world.sagas.services.hypervisor.destroy(serverId);
    await watcher.follow(serverId);
    assert.equal((await world.server(serverId))?.vm_state, "active");
  });

  it("looks again when that is done: its guest may have ended behind it", async () => {
    const { world, serverId, watcher } = await watched();
    await using _ = world;
    using __ = watcher;
    await updateServer(world.db, serverId, { task_state: "rebooting_hard" });
    world.host.crash(serverId);
    await delay(100);
    await updateServer(world.db, serverId, { task_state: null }); // As one does that has seen the guest start.
    await until(async () => (await world.server(serverId))?.vm_state === "stopped");
  });

  it("is not misled by what is over when it is told, as a list of all guests may be", async () => {
    const { world, serverId, watcher } = await watched();
    await using _ = world;
    using __ = watcher;
    await watcher.follow(serverId, "paused");
    await world.assertState(serverId, "active");
  });

  it("looks at all of them when the hypervisor is back", async () => {
    const { world, serverId, watcher } = await watched();
    await using _ = world;
    using __ = watcher;
    await updateServer(world.db, serverId, { vm_state: "stopped", power_state: 4 });
    world.host.goDown();
    world.host.comeBack();
    await until(async () => (await world.server(serverId))?.vm_state === "active");
  });

  it("changes only the power state of one that is rescued", async () => {
    const { world, serverId, watcher } = await watched();
    await using _ = world;
    using __ = watcher;
    await updateServer(world.db, serverId, { vm_state: "rescued" });
    await world.sagas.services.hypervisor.destroy(serverId);
    await watcher.follow(serverId);
    const server = await world.server(serverId);
    assert.deepEqual([server?.vm_state, server?.power_state], ["rescued", 4]);
  });
});

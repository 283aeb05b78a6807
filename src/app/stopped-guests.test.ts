import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { StoppedGuests } from "#/app/stopped-guests.ts";
import { loadConfig } from "#/config/load.ts";
import { updateServer } from "#/db/servers.ts";
import { AppError } from "#/domain/errors.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

/** A server whose pool is `away` until somebody says that it is not. */
async function stoppable() {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent());
  const { config } = loadConfig({ env: {}, flags: { dataDir: "/nowhere" } });
  const { services, runner } = world.sagas;
  const place = { away: false, asked: 0, beforeAnswer: async () => {} };
  for (const pool of services.pools) {
    const { capacity } = pool;
    pool.capacity = async () => {
      place.asked += 1;
      await place.beforeAnswer();
      if (place.away) throw new AppError("pool_unavailable", "its host does not answer");
      return capacity.call(pool);
    };
  }
  const open = () => new StoppedGuests({ ...services, runner, config });
  return { world, serverId, place, open, state: () => world.host.get(serverId).state };
}

async function until(done: () => boolean): Promise<void> {
  for (const dueMs = performance.now() + 10_000; performance.now() < dueMs; await delay(20)) if (done()) return;
  assert.fail("it did not come about");
}

describe("StoppedGuests", () => {
  it("lets a guest go on that was stopped for its disk, once its pool answers, and not before", async () => {
    const { world, serverId, place, open, state } = await stoppable();
    await using _ = world;
    using __ = open();
    place.away = true;
    world.host.failDisk(serverId, "vda");
    await until(() => place.asked >= 2);
    assert.equal(state(), "paused");
    place.away = false;
    await until(() => state() === "running");
  });

  it("finds those that were stopped while nobody looked", async () => {
    const { world, serverId, open, state } = await stoppable();
    await using _ = world;
    world.host.failDisk(serverId, "vda");
    using __ = open();
    await until(() => state() === "running");
  });

  it("leaves guests alone that somebody has paused, or is about to change", async () => {
    const { world, serverId, place, open, state } = await stoppable();
    await using _ = world;
    using __ = open();
    await updateServer(world.db, serverId, { task_state: "pausing" });
    world.host.failDisk(serverId, "vda");
    await delay(1200);
    assert.deepEqual([state(), place.asked], ["paused", 0]);
    await world.sagas.services.hypervisor.resume(serverId);
    await world.sagas.services.hypervisor.pause(serverId);
    await updateServer(world.db, serverId, { task_state: null });
    await delay(2000);
    assert.equal(state(), "paused");
  });

  it("leaves a guest alone to which something was begun while its pools were asked", async () => {
    const { world, serverId, place, open, state } = await stoppable();
    await using _ = world;
    using __ = open();
    place.beforeAnswer = () => updateServer(world.db, serverId, { task_state: "image_snapshot" });
    world.host.failDisk(serverId, "vda");
    await until(() => place.asked > 0);
    await delay(300);
    assert.equal(state(), "paused");
  });

  it("misses no guest that is stopped again in the moment in which it was seen running", async () => {
    const { world, serverId, open, state } = await stoppable();
    await using _ = world;
    const { hypervisor } = world.sagas.services;
    const { stat } = hypervisor;
    let seenRunning = 0;
    hypervisor.stat = async (id) => {
      const guest = await stat.call(hypervisor, id);
      if (guest?.state !== "running" || ++seenRunning > 1) return guest;
      world.host.failDisk(serverId, "vda");
      await delay(10); // The event overtakes the answer.
      return guest;
    };
    using __ = open();
    world.host.failDisk(serverId, "vda");
    await until(() => seenRunning === 2);
    assert.equal(state(), "running");
  });
});

import assert from "node:assert/strict";
import { it } from "node:test";
import { sagaContract } from "#/saga/engine/contract.ts";
import { thawServer } from "#/saga/thaw-server.ts";
import { MiB } from "#/lib/units.ts";
import { updateServer } from "#/db/servers.ts";
import { powerServer } from "#/saga/power-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

/** A server whose file systems are frozen. */
async function freezing(world: ServerWorld): Promise<string> {
  const serverId = await world.addRunning(someContent(), MiB);
  await updateServer(world.db, serverId, { image_properties: '{"hw_qemu_guest_agent":"yes"}' });
  await world.run(powerServer, { serverId, action: "softReboot" });
  await world.sagas.services.hypervisor.freeze(serverId);
  return serverId;
}

sagaContract("thawServer", thawServer, async () => {
  const world = await ServerWorld.open();
  const serverId = await freezing(world);
  return {
    context: world.context({ serverId }),
    async assertDone() {
      assert.equal(world.host.get(serverId).frozen, false);
      await world.sagas.assertAuditClean();
    },
    /** There is nothing to undo: what is thawed stays so. */
    assertClean: () => world.sagas.assertAuditClean(),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

it("thawServer has nothing to do for a guest that ended", async () => {
  await using world = await ServerWorld.open();
  const serverId = await freezing(world);
  world.host.get(serverId).agentHangs = true;
  world.host.crash(serverId);
  assert.equal((await world.run(thawServer, { serverId })).state, "done");
});

import assert from "node:assert/strict";
import { updateServer } from "#/db/servers.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { shelveServer } from "#/saga/shelve-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

sagaContract("shelveServer", shelveServer, async () => {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent());
  await updateServer(world.db, serverId, { task_state: "shelving" });
  return {
    context: world.context({ serverId, vmState: "active" }),
    async assertDone() {
      await world.assertState(serverId, "shelved_offloaded");
      assert.deepEqual(await world.guests(), []);
      await world.sagas.assertAuditClean();
    },
    /** As the guest came to stand: it runs, or was stopped. */
    async assertClean() {
      const [guest] = await world.guests();
      await world.assertState(serverId, guest?.state === "running" ? "active" : "stopped");
      await world.sagas.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

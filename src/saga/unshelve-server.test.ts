import assert from "node:assert/strict";
import { updateServer } from "#/db/servers.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { shelveServer } from "#/saga/shelve-server.ts";
import { unshelveServer } from "#/saga/unshelve-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

sagaContract("unshelveServer", unshelveServer, async () => {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent());
  assert.equal((await world.run(shelveServer, { serverId, vmState: "active" })).state, "done");
  await updateServer(world.db, serverId, { task_state: "unshelving" });
  return {
    context: world.context({ serverId, vmState: "shelved_offloaded" }),
    async assertDone() {
      await world.assertState(serverId, "active");
      assert.equal((await world.guests())[0]?.state, "running");
      await world.sagas.assertAuditClean();
    },
    async assertClean() {
      await world.assertState(serverId, "shelved_offloaded");
      assert.deepEqual(await world.guests(), []);
      await world.sagas.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

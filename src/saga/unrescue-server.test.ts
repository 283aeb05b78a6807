import assert from "node:assert/strict";
import { updateServer } from "#/db/servers.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { rescueServer } from "#/saga/rescue-server.ts";
import { unrescueServer } from "#/saga/unrescue-server.ts";
import { rescuing, ServerWorld } from "../../test/support/server-world.ts";

sagaContract("unrescueServer", unrescueServer, async () => {
  const world = await ServerWorld.open();
  const { serverId, ...params } = await rescuing(world);
  assert.equal((await world.run(rescueServer, { serverId, ...params })).state, "done");
  await updateServer(world.db, serverId, { task_state: "unrescuing" });
  const assertDone = async () => {
    await world.assertState(serverId, "active");
    assert.equal((await world.guests())[0]?.state, "running");
    assert.equal((await world.devices(serverId)).length, 1);
    await world.sagas.assertAuditClean();
  };
  return {
    context: world.context({ serverId }),
    assertDone,
    /** It only goes forward: what failed can be asked for again. */
    async assertClean() {
      await world.assertState(serverId, "rescued");
      assert.equal((await world.run(unrescueServer, { serverId })).state, "done");
      await assertDone();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

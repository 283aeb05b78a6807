import assert from "node:assert/strict";
import { updateServer } from "#/db/servers.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { rescueServer } from "#/saga/rescue-server.ts";
import { rescuing, ServerWorld } from "../../test/support/server-world.ts";

sagaContract("rescueServer", rescueServer, async () => {
  const world = await ServerWorld.open();
  const params = await rescuing(world);
  await updateServer(world.db, params.serverId, { task_state: "rescuing" });
  const assertStands = async (vmState: string, targets: readonly string[]) => {
    await world.assertState(params.serverId, vmState);
    const guest = await world.sagas.services.hypervisor.stat(params.serverId);
    assert.equal(guest?.state, "running");
    assert.deepEqual(guest?.disks.map(({ target }) => target).filter((target) => target.startsWith("vd")), targets);
    await world.sagas.assertAuditClean();
  };
  return {
    context: world.context(params),
    assertDone: () => assertStands("rescued", ["vda", "vdb"]),
    assertClean: () => assertStands("active", ["vda"]),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

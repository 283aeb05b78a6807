import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { updateServer } from "#/db/servers.ts";
import { SERVER_ACTIONS } from "#/domain/server.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { POWER_ACTIONS, type PowerAction, powerServer } from "#/saga/power-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const content = someContent();

/** What must have happened before, and how the server and its guest stand afterwards. */
const CASES: Readonly<Record<PowerAction, { before: readonly PowerAction[]; vmState: string; guest: string }>> = {
  "os-start": { before: ["os-stop"], vmState: "active", guest: "running" },
  "os-stop": { before: [], vmState: "stopped", guest: "shutoff" },
  softReboot: { before: [], vmState: "active", guest: "running" },
  hardReboot: { before: ["suspend"], vmState: "active", guest: "running" },
  pause: { before: [], vmState: "paused", guest: "paused" },
  unpause: { before: ["pause"], vmState: "active", guest: "running" },
  suspend: { before: [], vmState: "suspended", guest: "suspended" },
  resume: { before: ["suspend"], vmState: "active", guest: "running" },
};

for (const action of POWER_ACTIONS) {
  const { before, vmState, guest } = CASES[action];
  sagaContract(`powerServer: ${action}`, powerServer, async () => {
    const world = await ServerWorld.open();
    const serverId = await world.addRunning(content);
    for (const earlier of before) assert.equal((await world.run(powerServer, { serverId, action: earlier })).state, "done");
    await updateServer(world.db, serverId, { task_state: SERVER_ACTIONS[action].task });
    return {
      context: world.context({ serverId, action }),
      async assertDone() {
        await world.assertState(serverId, vmState);
        assert.equal((await world.guests())[0]?.state, guest);
        await world.sagas.assertAuditClean();
      },
      /** Whatever the guest came to: the server says so, and rests. */
      async assertClean() {
        const [{ state } = { state: "" }] = await world.guests();
        const expected: Record<string, string> = { running: "active", paused: "paused", suspended: "suspended", shutoff: "stopped" };
        await world.assertState(serverId, expected[state]);
        await world.sagas.assertAuditClean();
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

describe("powerServer", () => {
  it("pulls the plug of a guest that does not listen, within the grace", async () => {
    await using world = await ServerWorld.open();
    const serverId = await world.addRunning(content);
    const guest = world.host.guests.get(serverId);
    assert.ok(guest);
    guest.listens = false;
    assert.equal((await world.run(powerServer, { serverId, action: "os-stop" })).state, "done");
    await world.assertState(serverId, "stopped");
  });
});

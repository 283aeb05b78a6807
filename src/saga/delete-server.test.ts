import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { insertDevice, updateDevice } from "#/db/block-devices.ts";
import { updateServer } from "#/db/servers.ts";
import { updateVolume } from "#/db/volumes.ts";
import { MiB } from "#/lib/units.ts";
import { deleteServer } from "#/saga/delete-server.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { extendVolume } from "#/saga/extend-volume.ts";
import { powerServer } from "#/saga/power-server.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { newDevice, ServerWorld } from "../../test/support/server-world.ts";

const content = someContent();

/** A running server that has a volume which goes with it, and one that stays. */
async function prepare(world: ServerWorld): Promise<{ serverId: string; going: string; staying: string }> {
  const serverId = await world.addRunning(content);
  const attached = { status: "in-use", attach_status: "attached" };
  const [going, staying] = [await world.sagas.addVolume(attached, content), await world.sagas.addVolume(attached, content)];
  const volume = { server_id: serverId, source: "volume", destination: "volume", state: "attached" } as const;
  await insertDevice(world.db, newDevice({ ...volume, target: "vdb", volume_id: going, delete_on_termination: 1 }));
  await insertDevice(world.db, newDevice({ ...volume, target: "vdc", volume_id: staying }));
  return { serverId, going, staying };
}

sagaContract("deleteServer", deleteServer, async () => {
  const world = await ServerWorld.open();
  const { serverId, going, staying } = await prepare(world);
  const assertDone = async () => {
    await world.sagas.settle();
    assert.equal(await world.server(serverId), undefined);
    assert.deepEqual(await world.guests(), []);
    assert.equal(await world.sagas.volume(going), undefined);
    const kept = await world.sagas.volume(staying);
    assert.deepEqual([kept?.status, kept?.attach_status], ["available", "detached"]);
    await world.sagas.assertAuditClean();
  };
  return {
    context: world.context({ serverId }),
    assertDone,
    /** Deletes only go forward: what is left can be deleted again. */
    async assertClean() {
      if (await world.server(serverId)) {
        await world.assertState(serverId, "error");
        assert.equal((await world.run(deleteServer, { serverId })).state, "done");
      }
      await assertDone();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("deleteServer", () => {
  it("leaves a volume that was to go with it, but has a snapshot, or is another server's too", async () => {
    await using world = await ServerWorld.open();
    const { serverId, going, staying } = await prepare(world);
    const [device] = (await world.devices(serverId)).filter(({ volume_id }) => volume_id === staying);
    await updateDevice(world.db, device?.id ?? "", { delete_on_termination: 1 });
    await world.sagas.addSnapshot(staying, { status: "error" });
    const other = await world.addRunning(content);
    await insertDevice(world.db, newDevice({ server_id: other, source: "volume", destination: "volume", target: "vdb", volume_id: going, state: "attached" }));
    assert.equal((await world.run(deleteServer, { serverId })).state, "done");
    const standing = async (id: string) => {
      const volume = await world.sagas.volume(id);
      return [volume?.status, volume?.attach_status, volume?.disk_id];
    };
    assert.deepEqual(await standing(going), ["in-use", "attached", going]);
    assert.deepEqual(await standing(staying), ["available", "detached", staying]);
  });

  it("leaves a volume free that was being extended, or whose extension had failed", async () => {
    await using world = await ServerWorld.open();
    const { serverId, going, staying } = await prepare(world);
    for (const { id } of await world.devices(serverId)) await updateDevice(world.db, id, { delete_on_termination: 0 });
    await updateVolume(world.db, going, { status: "error_extending" });
    await updateVolume(world.db, staying, { status: "extending" });
    assert.equal((await world.run(deleteServer, { serverId })).state, "done");
    assert.equal((await world.sagas.volume(going))?.attach_status, "detached");
    const params = { volumeId: staying, sizeBytes: MiB, previousSizeBytes: MiB, previousStatus: "in-use" };
    for (const step of extendVolume.steps) await step.run(world.context({ ...params, serverId }), { signal: new AbortController().signal, progress: () => {} });
    const volume = await world.sagas.volume(staying);
    assert.deepEqual([volume?.status, volume?.attach_status], ["available", "detached"]);
    await world.sagas.assertAuditClean();
  });

  it("says that the hypervisor does not answer, and deletes the server once it does", async () => {
    await using world = await ServerWorld.open();
    const serverId = await world.addRunning(content);
    const { hypervisor } = world.sagas.services;
    assert.ok(hypervisor instanceof MemoryHypervisor);
    world.host.goDown();
    assert.equal((await world.run(deleteServer, { serverId })).error_code, "hypervisor_unavailable");
    await world.assertState(serverId, "error");
    world.host.comeBack();
    assert.equal((await world.run(deleteServer, { serverId })).state, "done");
    await world.sagas.assertAuditClean();
  });

  it("is what is being done to the server until it is gone, whatever else was under way when it began", async () => {
    await using world = await ServerWorld.open();
    const serverId = await world.addRunning(content);
    world.host.get(serverId).listens = false;
    const stopping = world.run(powerServer, { serverId, action: "os-stop" });
    await updateServer(world.db, serverId, { task_state: "deleting" });
    const seen: (string | null | undefined)[] = [];
    world.host.hooks.before = async (method) => {
      if (method === "undefine") seen.push((await world.server(serverId))?.task_state);
    };
    assert.equal((await world.run(deleteServer, { serverId })).state, "done");
    assert.equal((await stopping).state, "undone");
    assert.deepEqual(seen, ["deleting"]);
  });
});

import assert from "node:assert/strict";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { updateServer } from "#/db/servers.ts";
import { giveBack, serverQuota } from "#/domain/quota.ts";
import { GiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { type ResizeServer, resizeServer } from "#/saga/resize-server.ts";
import { PROJECT, someContent } from "../../test/support/saga-world.ts";
import { FLAVOR, ServerWorld } from "../../test/support/server-world.ts";

const LARGER = { ...FLAVOR, id: "2", name: "m1.small", vcpus: 2, ramMib: 512, diskGib: 2 };

/** As the API leaves it: the record has the new flavor, and the project has paid for it. */
async function give(world: ServerWorld, serverId: string, from: typeof FLAVOR, to: typeof FLAVOR, isReverting: boolean): Promise<ResizeServer> {
  const [oldFlavor, newFlavor] = [JSON.stringify(from), JSON.stringify(to)];
  await addQuotaUsage(world.db, PROJECT, giveBack(serverQuota(from)));
  await addQuotaUsage(world.db, PROJECT, serverQuota(to));
  await updateServer(world.db, serverId, { flavor: newFlavor, task_state: isReverting ? "resize_reverting" : "resize_prep" });
  const [device] = await world.devices(serverId);
  const root = isReverting || !device?.disk_id ? null : { deviceId: device.id, diskId: device.disk_id, sizeBytes: to.diskGib * GiB };
  return { serverId, oldFlavor, newFlavor, isReverting, runs: true, root };
}

async function assertServer(world: ServerWorld, serverId: string, vmState: string, flavor: typeof FLAVOR): Promise<void> {
  await world.assertState(serverId, vmState);
  const guest = await world.sagas.services.hypervisor.stat(serverId);
  assert.deepEqual([guest?.state, guest?.vcpuCount], ["running", flavor.vcpus]);
  assert.equal(JSON.parse((await world.server(serverId))?.flavor ?? "{}").name, flavor.name);
  await world.sagas.assertAuditClean();
}

sagaContract("resizeServer", resizeServer, async () => {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent());
  const params = await give(world, serverId, FLAVOR, LARGER, false);
  return {
    context: world.context(params),
    async assertDone() {
      await assertServer(world, serverId, "resized", LARGER);
      const [disk] = await world.db.selectFrom("disk").select("virtual_size_bytes").where("holder_kind", "=", "server").execute();
      assert.equal(disk?.virtual_size_bytes, 2 * GiB);
    },
    assertClean: () => assertServer(world, serverId, "active", FLAVOR),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

sagaContract("resizeServer, reverting", resizeServer, async () => {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent());
  assert.equal((await world.run(resizeServer, await give(world, serverId, FLAVOR, LARGER, false))).state, "done");
  const params = await give(world, serverId, LARGER, FLAVOR, true);
  return {
    context: world.context(params),
    assertDone: () => assertServer(world, serverId, "active", FLAVOR),
    assertClean: () => assertServer(world, serverId, "resized", LARGER),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

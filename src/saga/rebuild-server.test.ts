import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { updateServer } from "#/db/servers.ts";
import type { VmState } from "#/domain/server.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { powerServer } from "#/saga/power-server.ts";
import { type RebuildServer, rebuildServer } from "#/saga/rebuild-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const [oldContent, newContent] = [someContent(), someContent()];

async function prepare(world: ServerWorld, vmState: VmState): Promise<RebuildServer> {
  const serverId = await world.addRunning(oldContent);
  if (vmState === "stopped") await world.run(powerServer, { serverId, action: "os-stop" });
  await updateServer(world.db, serverId, { task_state: "rebuilding" });
  const imageId = await world.sagas.addImage(newContent, { pool: "slow" });
  const [root] = await world.devices(serverId);
  assert.ok(root?.disk_id);
  const before = { imageId: (await world.server(serverId))?.image_id ?? null, properties: "{}", form: null };
  const after = { imageId, properties: '{"hw_rng_model":"virtio"}', form: '{"minRamMib":64}' };
  const plan = await world.planDisk(imageId, GiB);
  return { serverId, deviceId: root.id, volumeId: null, plan, newDiskId: randomUUID(), oldDiskId: root.disk_id, before, after, vmState };
}

for (const vmState of ["active", "stopped"] as const) {
  sagaContract(`rebuildServer of one that is ${vmState}`, rebuildServer, async () => {
    const world = await ServerWorld.open();
    const params = await prepare(world, vmState);
    const assertServer = async (content: Buffer, imageId: string | null) => {
      await world.assertState(params.serverId, vmState);
      assert.equal((await world.guests())[0]?.state, vmState === "active" ? "running" : "shutoff");
      assert.equal((await world.server(params.serverId))?.image_id, imageId);
      assert.ok((await world.sagas.content((await world.devices(params.serverId))[0]?.disk_id, MiB)).equals(content));
      await world.sagas.assertAuditClean();
    };
    return {
      context: world.context(params),
      assertDone: () => assertServer(newContent, params.after.imageId),
      /** What was published stays; before that, all is as it was. */
      async assertClean() {
        const isNew = (await world.server(params.serverId))?.image_id === params.after.imageId;
        await (isNew ? assertServer(newContent, params.after.imageId) : assertServer(oldContent, params.before.imageId));
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

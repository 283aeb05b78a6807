import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { updateServer } from "#/db/servers.ts";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { offloadServer } from "#/saga/offload-server.ts";
import { shelveServer } from "#/saga/shelve-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";
import { shelving } from "../../test/support/shelving.ts";

const root = someContent();

/** A shelved server that is told to leave its host. */
async function prepare(world: ServerWorld) {
  const params = await shelving(world, root, { offloads: false });
  assert.equal((await world.run(shelveServer, params)).state, "done");
  await world.assertState(params.serverId, "shelved");
  await updateServer(world.db, params.serverId, { task_state: "shelving_offloading" });
  return params;
}

async function assertImage(world: ServerWorld, imageId: string): Promise<void> {
  const image = await world.sagas.image(imageId);
  assert.equal(image?.status, "active");
  assert.ok((await world.sagas.content(image?.disk_id, MiB)).equals(root));
  await world.sagas.assertAuditClean();
}

sagaContract("offloadServer", offloadServer, async () => {
  const world = await ServerWorld.open();
  const { serverId, imageId } = await prepare(world);
  const assertGone = async () => {
    await world.assertState(serverId, "shelved_offloaded");
    assert.deepEqual(await world.guests(), []);
    assert.equal((await world.devices(serverId))[0]?.disk_id, null);
    await assertImage(world, imageId);
  };
  const assertThere = async () => {
    await world.assertState(serverId, "shelved");
    assert.equal((await world.guests())[0]?.state, "shutoff");
    assert.ok((await world.sagas.content((await world.devices(serverId))[0]?.disk_id, MiB)).equals(root));
    await assertImage(world, imageId);
  };
  return {
    context: world.context({ serverId }),
    assertDone: assertGone,
    /** What is settled stays; before that, all is as it was. */
    async assertClean() {
      await ((await world.server(serverId))?.vm_state === "shelved_offloaded" ? assertGone() : assertThere());
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("offloadServer", () => {
  it("keeps the disk where the image that has it too was deleted", async () => {
    await using world = await ServerWorld.open();
    const { serverId, imageId } = await prepare(world);
    await world.db.deleteFrom("image").where("id", "=", imageId).execute();
    const { error_message: message } = await world.run(offloadServer, { serverId });
    assert.match(message ?? "", /cannot leave its host: image .* was deleted/);
    await world.assertState(serverId, "shelved");
    assert.ok((await world.sagas.content((await world.devices(serverId))[0]?.disk_id, MiB)).equals(root));
  });
});

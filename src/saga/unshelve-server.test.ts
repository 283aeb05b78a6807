import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { updateImage } from "#/db/images.ts";
import { updateServer } from "#/db/servers.ts";
import { AppError } from "#/domain/errors.ts";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { type UnshelveServer, unshelveServer } from "#/saga/unshelve-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";
import { unshelving } from "../../test/support/shelving.ts";

const root = someContent();

async function assertBack(world: ServerWorld, { serverId, imageId }: { serverId: string; imageId: string }): Promise<void> {
  await world.assertState(serverId, "active");
  assert.equal((await world.guests())[0]?.state, "running");
  const [device] = await world.devices(serverId);
  assert.ok((await world.sagas.content(device?.disk_id, MiB)).equals(root));
  assert.equal((await world.server(serverId))?.shelved_image_id, null);
  await world.sagas.assertAuditClean();
  assert.equal(await world.sagas.image(imageId), undefined);
}

async function assertStillShelved(world: ServerWorld, { serverId, imageId, vmState }: UnshelveServer & { imageId: string }): Promise<void> {
  await world.assertState(serverId, vmState);
  assert.deepEqual(
    (await world.guests()).map(({ state }) => state),
    vmState === "shelved" ? ["shutoff"] : [],
  );
  assert.equal((await world.devices(serverId))[0]?.disk_id === null, vmState === "shelved_offloaded");
  const image = await world.sagas.image(imageId);
  assert.equal(image?.status, "active");
  assert.ok((await world.sagas.content(image?.disk_id, MiB)).equals(root));
  await world.sagas.assertAuditClean();
}

sagaContract("unshelveServer", unshelveServer, async () => {
  const world = await ServerWorld.open();
  const params = await unshelving(world, root, "shelved_offloaded");
  return {
    context: world.context(params),
    assertDone: () => assertBack(world, params),
    /** What is published stays; before that, all is as it was. */
    async assertClean() {
      const isBack = (await world.server(params.serverId))?.vm_state === "active";
      await (isBack ? assertBack(world, params) : assertStillShelved(world, params));
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("unshelveServer", () => {
  it("starts a server that has not left its host on the disk that it has", async () => {
    await using world = await ServerWorld.open();
    const params = await unshelving(world, root, "shelved");
    world.host.hooks.before = (method) => {
      if (method === "start") throw new AppError("not_supported", "no processor is left");
    };
    assert.equal((await world.run(unshelveServer, params)).state, "undone");
    await assertStillShelved(world, params);
    world.host.hooks.before = () => {};
    await updateServer(world.db, params.serverId, { task_state: "unshelving" });
    assert.equal((await world.run(unshelveServer, params)).state, "done");
    await assertBack(world, params);
  });

  it("leaves a server as it is that was shelved again, where only what it had said is repeated after a kill", async () => {
    await using world = await ServerWorld.open();
    const params = await unshelving(world, root, "shelved");
    await updateServer(world.db, params.serverId, { task_state: null });
    const publish = unshelveServer.steps.find(({ name }) => name === "publish");
    await publish?.run(world.context(params), { signal: new AbortController().signal, progress: () => {} });
    assert.equal((await world.server(params.serverId))?.shelved_image_id, params.imageId);
    assert.equal((await world.sagas.image(params.imageId))?.status, "active");
  });

  it("leaves an image that its owner protects", async () => {
    await using world = await ServerWorld.open();
    const params = await unshelving(world, root, "shelved_offloaded");
    await updateImage(world.db, params.imageId, { protected: 1 });
    await world.run(unshelveServer, params);
    await world.assertState(params.serverId, "active");
    assert.equal((await world.sagas.image(params.imageId))?.status, "active");
    await world.sagas.assertAuditClean();
  });

  it("fails in words where the image goes meanwhile, and leaves the server shelved", async () => {
    await using world = await ServerWorld.open();
    const params = await unshelving(world, root, "shelved_offloaded");
    await world.db.deleteFrom("image").where("id", "=", params.imageId).execute();
    const { error_message: message } = await world.run(unshelveServer, params);
    assert.match(message ?? "", /was deleted before its bytes could be read/);
    await world.assertState(params.serverId, "shelved_offloaded");
  });
});

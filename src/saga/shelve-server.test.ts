import assert from "node:assert/strict";
import { access } from "node:fs/promises";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { findDisk } from "#/db/disks.ts";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { type ShelveServer, shelveServer } from "#/saga/shelve-server.ts";
import { serverFolder } from "#/vm/server-folder.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";
import { shelving } from "../../test/support/shelving.ts";

const root = someContent();
const GUEST = { active: "running", paused: "paused", stopped: "shutoff", suspended: "suspended" } as const;

/** Its image has the disk, and nothing of it is on the host. */
async function assertShelved(world: ServerWorld, { serverId, imageId, offloads }: ShelveServer): Promise<void> {
  await world.assertState(serverId, offloads ? "shelved_offloaded" : "shelved");
  const image = await world.sagas.image(imageId ?? "");
  assert.equal(image?.status, "active");
  assert.ok((await world.sagas.content(image?.disk_id, MiB)).equals(root));
  const [device] = await world.devices(serverId);
  assert.equal(device?.disk_id === null, offloads);
  assert.deepEqual(
    (await world.guests()).map(({ state }) => state),
    offloads ? [] : ["shutoff"],
  );
  assert.equal((await world.server(serverId))?.shelved_image_id, imageId);
  if (offloads) await assert.rejects(access(serverFolder(world.sagas.services.limits.servers.dir, serverId).path));
  await world.sagas.assertAuditClean();
}

/** It runs, or is off, as before, and there is no image. A guest whose memory was thrown away already is off. */
async function assertAsBefore(world: ServerWorld, { serverId, imageId, vmState }: ShelveServer): Promise<void> {
  const [guest] = await world.guests();
  assert.ok(guest?.state === GUEST[vmState as keyof typeof GUEST] || guest?.state === "shutoff");
  if (vmState === "active") assert.equal(guest.state, "running");
  await world.assertState(serverId, guest.state === "shutoff" ? "stopped" : vmState);
  assert.equal(await world.sagas.image(imageId ?? ""), undefined);
  const [device] = await world.devices(serverId);
  assert.ok((await world.sagas.content(device?.disk_id, MiB)).equals(root));
  await world.sagas.assertAuditClean();
}

sagaContract("shelveServer", shelveServer, async () => {
  const world = await ServerWorld.open();
  const params = await shelving(world, root);
  return {
    context: world.context(params),
    assertDone: () => assertShelved(world, params),
    /** What is settled stays; before that, all is as it was. */
    async assertClean() {
      const isSettled = (await world.server(params.serverId))?.vm_state.startsWith("shelved");
      await (isSettled ? assertShelved(world, params) : assertAsBefore(world, params));
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("shelveServer", () => {
  const others = [
    { vmState: "stopped", offloads: true },
    { vmState: "paused", offloads: true },
    { vmState: "suspended", offloads: false },
    { vmState: "active", offloads: false },
  ] as const;
  for (const { vmState, offloads } of others) {
    it(`makes an image of a server that is ${vmState}${offloads ? "" : ", and stays on its host"}`, async () => {
      await using world = await ServerWorld.open();
      const params = await shelving(world, root, { vmState, offloads });
      assert.equal((await world.run(shelveServer, params)).state, "done");
      await assertShelved(world, params);
    });
  }

  it("moves no byte where the pool can leave them where they are: the image reads through what the disk did", async () => {
    await using world = await ServerWorld.open();
    const params = await shelving(world, root);
    assert.equal(params.disks[0]?.ways[0]?.strategy, "adopt");
    const { actual } = await world.run(shelveServer, params);
    assert.equal(JSON.parse(actual ?? "{}").bytesWritten, 0);
    await world.sagas.settle();
    assert.ok((await findDisk(world.db, diskId(params.imageId)))?.parent, "it is not copied in the background either");
    await assertShelved(world, params);
  });

  for (const vmState of ["active", "paused", "suspended"] as const) {
    it(`leaves a server that is ${vmState} as it was where the image cannot be made`, async () => {
      await using world = await ServerWorld.open();
      const params = await shelving(world, root, { vmState });
      await world.db.deleteFrom("image").where("id", "=", params.imageId).execute();
      const { state, error_message: message } = await world.run(shelveServer, params);
      assert.equal(state, "undone");
      assert.match(message ?? "", /The image was deleted/);
      await world.assertState(params.serverId, vmState);
      await assertAsBefore(world, params);
    });
  }

  it("shows what is being done, step by step", async () => {
    await using world = await ServerWorld.open();
    const params = await shelving(world, root);
    const seen: (string | null | undefined)[] = [];
    const steps = shelveServer.steps.map((step): typeof step => ({
      ...step,
      async run(context, scope) {
        await step.run(context, scope);
        seen.push((await world.server(params.serverId))?.task_state);
      },
    }));
    const scope = { signal: new AbortController().signal, progress() {} };
    const context = world.context(params);
    for (const step of steps) await step.run(context, scope);
    assert.deepEqual([...new Set(seen)], ["shelving", "shelving_image_pending_upload", "shelving_image_uploading", "shelving_offloading", null]);
  });

  it("keeps the volume that a server boots from, and leaves its host at once", async () => {
    await using world = await ServerWorld.open();
    const volume = await world.sagas.addVolume({ status: "in-use", attach_status: "attached" }, root);
    const volumeDevice = { destination: "volume", source: "volume", source_id: volume, volume_id: volume, state: "attached" } as const;
    const serverId = await world.addServer({ vm_state: "active", task_state: "shelving" }, [volumeDevice]);
    const params: ShelveServer = { serverId, imageId: null, disks: [], vmState: "active", offloads: true, shelves: true, hasAgent: false, requiresQuiesce: false, runs: true };
    assert.equal((await world.run(shelveServer, params)).state, "done");
    await world.assertState(serverId, "shelved_offloaded");
    assert.equal((await world.sagas.volume(volume))?.status, "in-use");
    await world.sagas.assertAuditClean();
  });

  it("is not finished where the image goes before the server has left: nothing is lost", async () => {
    await using world = await ServerWorld.open();
    const params = await shelving(world, root);
    world.host.hooks.before = async (method) => {
      if (method === "undefine") await world.db.deleteFrom("image").where("id", "=", params.imageId).execute();
    };
    const { state, error_message: message } = await world.run(shelveServer, params);
    assert.equal(state, "undone");
    assert.match(message ?? "", /was deleted/);
    await assertAsBefore(world, params);
  });

  it("stays on record as what failed, with the hypervisor's words", async () => {
    await using world = await ServerWorld.open();
    const params = await shelving(world, root, { vmState: "stopped" });
    world.host.hooks.before = (method) => {
      if (method === "undefine") throw new AppError("not_supported", "this guest is glued on");
    };
    await world.run(shelveServer, params);
    assert.match(await world.fault(params.serverId), /glued on/);
    world.host.hooks.before = () => {};
    await assertAsBefore(world, params);
  });
});

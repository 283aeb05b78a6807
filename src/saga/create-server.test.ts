import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";
import { updateDevice } from "#/db/block-devices.ts";
import { updateServer } from "#/db/servers.ts";
import { diskId, operationId } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { type CreateServer, createServer } from "#/saga/create-server.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const content = someContent();

async function imageServer(world: ServerWorld): Promise<CreateServer> {
  const image = await world.sagas.addImage(content, { pool: "slow" });
  const [plan, id] = [await world.planDisk(image), randomUUID()];
  const serverId = await world.addServer({ image_id: image }, [{ id, source_id: image, size_bytes: GiB }]);
  return { serverId, disks: [{ deviceId: id, plan }], volumes: [] };
}

/** Boots from a volume that is made for it, and has one more that was there. */
async function volumeServer(world: ServerWorld): Promise<CreateServer> {
  const { sagas, db } = world;
  const image = await sagas.addImage(content);
  const [made, old] = [await sagas.addVolume({ size_bytes: GiB }), await sagas.addVolume({ status: "reserved" }, content)];
  const plan = await sagas.planVolume({ kind: "image", id: image }, GiB);
  const meta = { projectId: null, userId: null, requestId: null, subject: { kind: "volume", id: made }, plan };
  const operationId = await sagas.runner.begin(db, createVolume, { volumeId: made }, meta);
  const volume = { destination: "volume", size_bytes: GiB } as const;
  const serverId = await world.addServer({}, [
    { ...volume, source: "image", source_id: image, volume_id: made, made_volume: 1 },
    { ...volume, source: "volume", source_id: old, volume_id: old },
  ]);
  return { serverId, disks: [], volumes: [{ volumeId: made, operationId }] };
}

for (const [name, prepare] of [
  ["an image", imageServer],
  ["volumes", volumeServer],
] as const) {
  sagaContract(`createServer of ${name}`, createServer, async () => {
    const world = await ServerWorld.open();
    const params = await prepare(world);
    return {
      context: world.context(params),
      async assertDone() {
        await world.assertState(params.serverId, "active");
        assert.deepEqual(
          (await world.guests()).map(({ id, state }) => [id, state]),
          [[params.serverId, "running"]],
        );
        const [root] = await world.devices(params.serverId);
        assert.deepEqual((await world.sagas.content(root?.disk_id ?? root?.volume_id, MiB)).equals(content), true);
        await world.sagas.assertAuditClean();
      },
      async assertClean() {
        await world.assertState(params.serverId, "error");
        assert.deepEqual(await world.guests(), []);
        for (const { disk_id } of await world.devices(params.serverId)) assert.equal(disk_id, null);
        const statuses = await world.db.selectFrom("volume").select("status").execute();
        assert.ok(statuses.every(({ status }) => status === "available"), `volumes: ${statuses.map(({ status }) => status)}`);
        assert.ok(statuses.length <= 1, "the volume that was made for it is gone");
        await world.sagas.assertAuditClean();
      },
      isShown: async () => (await world.server(params.serverId))?.vm_state === "active",
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

describe("createServer", () => {
  it("says why its volume could not be made, and leaves none", async () => {
    await using world = await ServerWorld.open();
    const { sagas } = world;
    const params = await volumeServer(world);
    await sagas.services.pools.get((await sagas.planVolume({ kind: "blank" }, MiB)).target.pool).delete(diskId((await world.devices(params.serverId))[0]?.source_id ?? ""));
    const operation = await sagas.runner.begin(world.db, createServer, params, { projectId: null, userId: null, requestId: "req", subject: { kind: "server", id: params.serverId } });
    const ended = await sagas.runner.run(operation);
    assert.equal(ended.state, "undone");
    await world.assertState(params.serverId, "error");
    assert.match(await world.fault(params.serverId), /"message":"[^"]+"/);
    assert.equal((await world.db.selectFrom("volume").select("id").execute()).length, 1);
  });

  it("says at once that the hypervisor went away in the middle, and ends what there is of the guest when it is back", async () => {
    await using world = await ServerWorld.open();
    const params = await imageServer(world);
    world.host.hooks.before = (method) => {
      if (method === "start") world.host.goDown();
    };
    const operation = await world.run(createServer, params);
    assert.equal(operation.state, "stuck");
    await world.assertState(params.serverId, "error");
    assert.match(await world.fault(params.serverId), /does not answer|hypervisor/i);
    world.host.hooks.before = () => {};
    world.host.comeBack();
    assert.equal((await world.sagas.runner.run(operationId(operation.id))).state, "undone");
    assert.deepEqual(await world.guests(), []);
    await world.sagas.assertAuditClean();
  });

  it("loads the kernel and the ramdisk that its image names, with the image's command line", async () => {
    await using world = await ServerWorld.open();
    const [kernel, ramdisk] = [someContent(), someContent()];
    const ids = { kernel_id: await world.sagas.addImage(kernel), ramdisk_id: await world.sagas.addImage(ramdisk) };
    const params = await imageServer(world);
    await updateServer(world.db, params.serverId, { image_properties: JSON.stringify({ ...ids, os_command_line: "root=/dev/vda quiet" }) });
    assert.equal((await world.run(createServer, params)).state, "done");
    const boot = world.host.get(params.serverId).config.boot;
    assert.ok(boot.kind === "kernel");
    assert.equal(boot.commandLine, "root=/dev/vda quiet");
    assert.ok((await readFile(boot.kernelPath)).equals(kernel));
    assert.ok((await readFile(boot.ramdiskPath ?? "")).equals(ramdisk));
  });

  it("gives the guest its disks with their formats named, its config drive, and a console", async () => {
    await using world = await ServerWorld.open();
    const params = await imageServer(world);
    await updateDevice(world.db, params.disks[0]?.deviceId ?? "", { tag: "root" });
    for (const step of createServer.steps) await step.run(world.context(params), { signal: new AbortController().signal, progress: () => {} });
    const guest = await world.sagas.services.hypervisor.stat(params.serverId);
    assert.deepEqual(
      guest?.disks.map(({ target }) => target),
      ["vda", "hda"],
    );
  });
});

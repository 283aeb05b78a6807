import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe, it } from "node:test";
import { insertDevice } from "#/db/block-devices.ts";
import { getDisk } from "#/db/disks.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { flattenInBackground } from "#/saga/flatten-disk.ts";
import { powerServer } from "#/saga/power-server.ts";
import { uploadVolume } from "#/saga/upload-volume.ts";
import { type Attachment, assertAttached, reserve } from "../../test/support/attachments.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { newDevice, ServerWorld } from "../../test/support/server-world.ts";

async function snapshot(world: ServerWorld, { volumeId }: Attachment) {
  const { sagas, db } = world;
  const snapshotId = await sagas.addSnapshot(volumeId);
  const meta = { projectId: null, userId: null, requestId: null, subject: { kind: "snapshot", id: snapshotId } };
  return { snapshotId, ended: await sagas.runner.run(await sagas.runner.begin(db, createSnapshot, { snapshotId }, meta)) };
}

/** The file that the guest has open must be the one that its records name. */
async function assertWritesToItsVolume(world: ServerWorld, { serverId, volumeId }: Attachment): Promise<void> {
  const { pools } = world.sagas.services;
  const disk = await world.db.selectFrom("disk").selectAll().where("id", "=", volumeId).executeTakeFirstOrThrow();
  const pool = [...pools].find(({ name }) => name === disk.pool);
  const now = await pool?.open({ id: diskId(volumeId), format: "raw", virtualSizeBytes: MiB }, "write");
  assert.deepEqual(world.host.get(serverId).live?.find(({ target }) => target === "vdb")?.node, now);
}

/** Has work begin when the pool is about to freeze a disk, which it then takes its time for. Waits for the work in the end. */
function atFreeze(world: ServerWorld, work: () => Promise<unknown>): () => Promise<void> {
  const pool = world.sagas.services.pools.get(poolName("fast"));
  const snapshot = pool.snapshot.bind(pool);
  let begun: Promise<unknown> | undefined;
  pool.snapshot = async (...args) => {
    begun = work();
    await delay(200);
    return snapshot(...args);
  };
  return async () => void (await begun);
}

describe("a disk of files that a guest has open", () => {
  it("is not frozen under the guest, which would write to the snapshot; once it is stopped it is", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    assert.equal((await world.run(attachVolume, attached)).state, "done");
    const { ended } = await snapshot(world, attached);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "conflict"]);
    await assertWritesToItsVolume(world, attached);
    assert.equal((await world.run(powerServer, { serverId: attached.serverId, action: "os-stop" })).state, "done");
    assert.equal((await snapshot(world, attached)).ended.state, "done");
    assert.equal((await world.run(powerServer, { serverId: attached.serverId, action: "os-start" })).state, "done");
    await assertWritesToItsVolume(world, attached);
  });

  it("is not read for a copy under the guest where its pool cannot freeze it", async (t) => {
    await using world = await ServerWorld.open();
    const { db, sagas } = world;
    const attached = await reserve(world);
    await world.run(attachVolume, attached);
    const pool = sagas.services.pools.get(poolName("fast"));
    const can = { ...pool.can, clone: "none", snapshot: false } as const;
    t.mock.getter(pool, "can", () => can);
    const copy = async () => {
      const plan = await sagas.planVolume({ kind: "volume", id: attached.volumeId }, MiB);
      assert.notEqual(plan.strategy, "clone");
      const volumeId = await sagas.addVolume();
      const meta = { projectId: "project", userId: null, requestId: null, subject: { kind: "volume", id: volumeId }, plan };
      return sagas.runner.run(await sagas.runner.begin(db, createVolume, { volumeId }, meta));
    };
    const refused = await copy();
    assert.deepEqual([refused.state, refused.error_code], ["undone", "conflict"]);
    await world.run(powerServer, { serverId: attached.serverId, action: "os-stop" });
    assert.equal((await copy()).state, "done");
  });

  it("is read as it lies for an image where its guest is suspended and its pool cannot freeze it under a guest; frozen where that is stopped", async () => {
    await using world = await ServerWorld.open();
    const { db, sagas } = world;
    const attached = await reserve(world);
    await world.run(attachVolume, attached);
    const before = await sagas.content(attached.volumeId, MiB);
    const upload = async () => {
      const plan = await sagas.planImage(attached.volumeId, { diskFormat: "raw" }, "slow");
      const params = { volumeId: attached.volumeId, imageId: await sagas.addQueuedImage(), previousStatus: "in-use" };
      await db.updateTable("volume").set({ status: "uploading" }).where("id", "=", attached.volumeId).execute();
      const meta = { projectId: "project", userId: null, requestId: null, subject: { kind: "volume", id: attached.volumeId }, plan };
      const { state } = await sagas.runner.run(await sagas.runner.begin(db, uploadVolume, params, meta));
      await sagas.settle();
      assert.deepEqual(await sagas.content(params.imageId, MiB), before);
      return { state, status: (await sagas.volume(attached.volumeId))?.status };
    };
    const parent = async () => (await getDisk(db, diskId(attached.volumeId))).parent;
    await world.run(powerServer, { serverId: attached.serverId, action: "suspend" });
    assert.deepEqual([await upload(), await parent()], [{ state: "done", status: "in-use" }, undefined]);
    await world.run(powerServer, { serverId: attached.serverId, action: "resume" });
    await assertWritesToItsVolume(world, attached);
    await world.run(powerServer, { serverId: attached.serverId, action: "os-stop" });
    assert.deepEqual(await upload(), { state: "done", status: "in-use" });
    assert.ok(await parent());
    await world.run(powerServer, { serverId: attached.serverId, action: "os-start" });
    await assertWritesToItsVolume(world, attached);
  });

  it("is frozen for an image also where its guest is suspended, in a pool that freezes it where it lies: the server may be resumed meanwhile", async () => {
    await using world = await ServerWorld.open({ sharesBlocks: true });
    const { db, sagas } = world;
    const attached = await reserve(world);
    await world.run(attachVolume, attached);
    const before = await sagas.content(attached.volumeId, MiB);
    await world.run(powerServer, { serverId: attached.serverId, action: "suspend" });
    const plan = await sagas.planImage(attached.volumeId, { diskFormat: "raw" }, "slow");
    assert.ok(plan.steps.some(({ name }) => name === "freeze"));
    const params = { volumeId: attached.volumeId, imageId: await sagas.addQueuedImage(), previousStatus: "in-use" };
    await db.updateTable("volume").set({ status: "uploading" }).where("id", "=", attached.volumeId).execute();
    const frozen: string[] = [];
    const pool = sagas.services.pools.get(poolName("fast"));
    const snapshot = pool.snapshot.bind(pool);
    pool.snapshot = async (source, target) => {
      frozen.push(source.id);
      const lineage = await snapshot(source, target);
      await world.run(powerServer, { serverId: attached.serverId, action: "resume" });
      await assertWritesToItsVolume(world, attached);
      return lineage;
    };
    const meta = { projectId: "project", userId: null, requestId: null, subject: { kind: "volume", id: attached.volumeId }, plan };
    const ended = await sagas.runner.run(await sagas.runner.begin(db, uploadVolume, params, meta));
    assert.deepEqual([ended.error_message, frozen], [null, [attached.volumeId]]);
    await sagas.settle();
    assert.deepEqual(await sagas.content(params.imageId, MiB), before);
    await sagas.assertAuditClean();
  });

  it("is not made independent under the guest, and no longer once the guest comes", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    const before = await world.sagas.content(attached.volumeId, MiB);
    const power = (action: "os-stop" | "os-start") => world.run(powerServer, { serverId: attached.serverId, action });
    await power("os-stop");
    const { snapshotId, ended } = await snapshot(world, attached);
    assert.equal(ended.state, "done");
    await power("os-start");
    await flattenInBackground(world.sagas.context({}), diskId(attached.volumeId));
    assert.equal((await world.run(attachVolume, attached)).state, "done");
    await assertWritesToItsVolume(world, attached);
    await flattenInBackground(world.sagas.context({}), diskId(attached.volumeId));
    await world.sagas.settle();
    await assertWritesToItsVolume(world, attached);
    for (const id of [attached.volumeId, snapshotId]) assert.ok((await world.sagas.content(id, MiB)).equals(before));
    await assertAttached(world, attached);
  });

  it("is where its guest is told when that starts while the disk is frozen", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    await world.run(attachVolume, attached);
    await world.run(powerServer, { serverId: attached.serverId, action: "os-stop" });
    const ended = atFreeze(world, () => world.run(powerServer, { serverId: attached.serverId, action: "os-start" }));
    assert.equal((await snapshot(world, attached)).ended.state, "done");
    await ended();
    await world.assertState(attached.serverId, "active");
    await assertWritesToItsVolume(world, attached);
  });

  it("is where a guest is told that gets it while it is frozen", async () => {
    await using world = await ServerWorld.open();
    const serverId = await world.addRunning(someContent());
    const volumeId = await world.sagas.addVolume({}, someContent());
    const device = newDevice({ server_id: serverId, source: "volume", destination: "volume", target: "vdb", volume_id: volumeId });
    const attached = { serverId, volumeId, deviceId: device.id };
    const ended = atFreeze(world, async () => {
      await insertDevice(world.db, device);
      await world.run(attachVolume, attached);
    });
    assert.equal((await snapshot(world, attached)).ended.state, "done");
    await ended();
    await assertWritesToItsVolume(world, attached);
  });
});

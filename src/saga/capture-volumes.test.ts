/** The same saga, where what it captures are volumes: of a server that an image is to stand for, or one by itself. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Materialise } from "#/app/materialise.ts";
import { insertDevice } from "#/db/block-devices.ts";
import { getDisk } from "#/db/disks.ts";
import { updateServer } from "#/db/servers.ts";
import { updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { type CaptureServer, captureServer } from "#/saga/capture-server.ts";
import type { CapturedDisk } from "#/saga/captured-disk.ts";
import { SagaRunner } from "#/saga/runner.ts";
import { SAGAS } from "#/saga/sagas.ts";
import { detachVolume } from "#/saga/detach-volume.ts";
import { extendVolume } from "#/saga/extend-volume.ts";
import { reserve } from "../../test/support/attachments.ts";
import { PROJECT, someContent } from "../../test/support/saga-world.ts";
import { newDevice, ServerWorld } from "../../test/support/server-world.ts";

/** A running server with a volume, of which an image that stands for it is queued, or a snapshot alone. */
async function prepare(world: ServerWorld, { image = true } = {}): Promise<CaptureServer & { readonly volumeId: string }> {
  const { volumeId, ...attachment } = await reserve(world);
  await world.run(attachVolume, attachment);
  const { serverId, deviceId } = attachment;
  const volume = await world.sagas.volume(volumeId);
  const imageId = image ? await world.sagas.addQueuedImage("qcow2") : null;
  const snapshotId = await world.sagas.addSnapshot(volumeId, { image_id: imageId });
  if (image) await updateServer(world.db, serverId, { task_state: "image_snapshot_pending" });
  const ways = await new Materialise(world.sagas.services).planCapture({ subject: { kind: "volume", id: volumeId }, disk: diskId(volume?.disk_id ?? ""), guest: "running" });
  const gentle = image ? ways : ways.filter(({ capture }) => capture?.method !== "cold");
  const disk: CapturedDisk = { target: "vdb", deviceId, volumeId, ways: gentle, becomes: { kind: "snapshot", id: snapshotId }, viewId: randomUUID() };
  return { serverId, imageId, disks: [disk], hasAgent: false, requiresQuiesce: false, runs: true, volumeId };
}

async function assertContent(world: ServerWorld, { volumeId, disks }: CaptureServer & { readonly volumeId: string }): Promise<void> {
  const [volume, snapshot] = [await world.sagas.volume(volumeId), await world.sagas.snapshot(disks[0]?.becomes.id ?? "")];
  assert.equal(snapshot?.status, "available");
  assert.ok((await world.sagas.content(snapshot.disk_id, MiB)).equals(await world.sagas.content(volume?.disk_id, MiB)));
}

/** None of the ways works. */
function breakAll(world: ServerWorld): void {
  world.host.hooks.before = (method) => {
    if (["beginBackup", "mirrorDisk", "save"].includes(method)) throw new AppError("tool_failed", `${method} is broken`);
  };
}

describe("volumes of servers", () => {
  it("are given snapshots that an image stands for", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world);
    assert.equal((await world.run(captureServer, params)).state, "done");
    await assertContent(world, params);
    const image = await world.sagas.image(params.imageId ?? "");
    assert.deepEqual([image?.status, image?.size_bytes, image?.disk_id], ["active", 0, null]);
    await world.assertState(params.serverId, "active");
    await world.sagas.assertAuditClean();
  });

  it("leave neither image nor snapshots where it fails, and their quota is given back", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world);
    breakAll(world);
    assert.match((await world.run(captureServer, params)).error_message ?? "", /save is broken/);
    assert.equal(await world.sagas.image(params.imageId ?? ""), undefined);
    assert.equal(await world.sagas.snapshot(params.disks[0]?.becomes.id ?? ""), undefined);
    await world.assertState(params.serverId, "active");
    await world.sagas.assertAuditClean();
  });

  it("leave neither where the image is deleted meanwhile", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world);
    await world.db.deleteFrom("image").where("id", "=", params.imageId ?? "").execute();
    assert.equal((await world.run(captureServer, params)).state, "undone");
    assert.equal(await world.sagas.snapshot(params.disks[0]?.becomes.id ?? ""), undefined);
    await world.sagas.assertAuditClean();
  });

  it("by themselves are given snapshots under their guest, which is never stopped for one", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world, { image: false });
    assert.equal((await world.run(captureServer, params)).state, "done");
    await assertContent(world, params);
    await world.sagas.assertAuditClean();
    const id = await world.sagas.addSnapshot(params.volumeId);
    breakAll(world);
    const disks = params.disks.map((disk) => ({ ...disk, viewId: randomUUID(), becomes: { kind: "snapshot", id } as const }));
    const ended = await world.run(captureServer, { ...params, disks });
    assert.match(ended.error_message ?? "", /mirrorDisk is broken/);
    assert.equal((await world.sagas.snapshot(id))?.status, "error"); // Its user is told.
    assert.equal(world.host.get(params.serverId).state, "running");
    await world.sagas.assertAuditClean();
  });

  it("are not given the bytes of another volume, which has taken their place in the guest meanwhile", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world, { image: false });
    const { serverId, disks, volumeId } = params;
    await world.run(detachVolume, { serverId, deviceId: disks[0]?.deviceId ?? "" });
    const other = await world.sagas.addVolume({ status: "reserved" }, someContent());
    const device = newDevice({ server_id: serverId, source: "volume", destination: "volume", target: "vdb", volume_id: other });
    await insertDevice(world.db, device);
    await world.run(attachVolume, { serverId, deviceId: device.id });
    const ended = await world.run(captureServer, params);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "gone"]);
    assert.equal((await world.sagas.snapshot(disks[0]?.becomes.id ?? ""))?.status, "error");
    assert.deepEqual([(await world.sagas.volume(volumeId))?.status, world.host.get(serverId).backup], ["available", undefined]);
    await world.sagas.assertAuditClean();
  });

  for (const method of ["backup_job", "live_mirror"] as const) {
    it(`that are extended before it was their turn, or while they are read by ${method}, are captured as large as they were, and grow afterwards`, async () => {
      await using world = await ServerWorld.open();
      const { db, sagas, host } = world;
      const params = await prepare(world, { image: false });
      const { serverId, volumeId } = params;
      const disks = params.disks.map((disk) => ({ ...disk, ways: disk.ways.filter(({ capture }) => capture?.method === method) }));
      const meta = { projectId: PROJECT, userId: null, requestId: null, subject: { kind: "volume", id: volumeId } };
      await sagas.services.captureSlots.take(serverId, "another", new AbortController().signal);
      const captured = sagas.runner.run(await sagas.runner.begin(db, captureServer, { ...params, disks }, meta));
      await updateVolume(db, volumeId, { status: "extending" });
      const extended = sagas.runner.run(await sagas.runner.begin(db, extendVolume, { volumeId, sizeBytes: 2 * MiB, previousSizeBytes: MiB, previousStatus: "in-use" }, meta));
      const sizes = new Set<number | undefined>();
      host.hooks.before = async (call) => {
        if (call !== "endBackup" && call !== "endMirror") return;
        await delay(100);
        sizes.add((await sagas.volume(volumeId))?.size_bytes);
      };
      await delay(100);
      assert.deepEqual([(await sagas.volume(volumeId))?.status, sizes.size], ["extending", 0]);
      await sagas.services.captureSlots.giveBack(serverId, "another");
      assert.deepEqual([(await captured).error_message, (await extended).error_message, [...sizes]], [null, null, [MiB]]);
      const snapshot = await sagas.snapshot(disks[0]?.becomes.id ?? "");
      assert.deepEqual([snapshot?.status, snapshot?.size_bytes], ["available", MiB]);
      assert.equal((await getDisk(db, diskId(snapshot?.disk_id ?? ""))).virtualSizeBytes, MiB);
      const volume = await sagas.volume(volumeId);
      assert.deepEqual([volume?.status, volume?.size_bytes], ["in-use", 2 * MiB]);
      assert.equal((await world.sagas.services.hypervisor.diskStats(serverId, "vdb")).sizeBytes, 2 * MiB);
    });
  }

  it("leave their guest paused whose user asked for that at the very instant", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world, { image: false });
    const disks = params.disks.map((disk) => ({ ...disk, ways: disk.ways.filter(({ capture }) => capture?.method === "live_mirror") }));
    world.host.hooks.before = async (method) => {
      if (method === "endMirror") await updateServer(world.db, params.serverId, { task_state: "pausing" });
    };
    assert.equal((await world.run(captureServer, { ...params, disks })).state, "done");
    assert.equal(world.host.get(params.serverId).state, "paused");
    await assertContent(world, params);
  });

  for (const which of ["first", "second"] as const) {
    it(`are captured one after the other, also where a process ended in the middle, and the ${which} one goes on first`, async () => {
      await using world = await ServerWorld.open();
      const params = await prepare(world, { image: false });
      const id = await world.sagas.addSnapshot(params.volumeId);
      const second = { ...params, disks: params.disks.map((disk) => ({ ...disk, viewId: randomUUID(), becomes: { kind: "snapshot", id } as const })) };
      const { runner, services } = world.sagas;
      const begin = (capture: CaptureServer) => runner.begin(world.db, captureServer, capture, { projectId: null, userId: null, requestId: null, subject: { kind: "snapshot", id } });
      const operations = [await begin(params), await begin(second)];
      world.host.hooks.before = (method) => method === "findBackup" && void runner.close(0); // The first one's views are open.
      await Promise.all(operations.map((operation) => runner.run(operation)));
      delete world.host.hooks.before;
      for (const operation of operations) await services.captureSlots.giveBack(params.serverId, operation); // As with the process.
      const next = new SagaRunner(services, SAGAS, { leaseMs: 30_000, retentionMs: 1000 });
      const ended = await Promise.all((which === "first" ? operations : operations.toReversed()).map((operation) => next.run(operation)));
      assert.deepEqual(ended.map(({ error_message }) => error_message), [null, null]);
      await assertContent(world, params);
      await assertContent(world, second);
      assert.deepEqual(await world.sagas.audit(), []);
    });
  }
});

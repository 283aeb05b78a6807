import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { describe, it } from "node:test";
import { incrementsOf } from "#/app/previous-images.ts";
import { Materialise } from "#/app/materialise.ts";
import { captureBasesOf, findCaptureBase, insertCaptureBase } from "#/db/capture-bases.ts";
import { getDisk, setDiskParent } from "#/db/disks.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { updateServer } from "#/db/servers.ts";
import { diskId } from "#/domain/ids.ts";
import { KiB, MiB } from "#/lib/units.ts";
import type { Plan } from "#/planner/plan.ts";
import { type CaptureServer, captureServer } from "#/saga/capture-server.ts";
import type { Actual } from "#/saga/context.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { deleteServer } from "#/saga/delete-server.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { openReader } from "#/tools/qemu-nbd.ts";
import type { BackupRequest } from "#/vm/backup.ts";
import { captureFolder, makeCaptureFolder } from "#/vm/capture-folder.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const SIZE_BYTES = 4 * MiB;
const ON = { servers: { incrementalImages: true } } as Parameters<typeof incrementsOf>[0]["config"];
const OFF = { servers: { incrementalImages: false } } as typeof ON;

type Params = CaptureServer & { readonly imageId: string };

async function rootOf(world: ServerWorld, serverId: string): Promise<BlockDeviceTable> {
  const [device] = await world.devices(serverId);
  assert.ok(device?.disk_id);
  return device;
}

/** An image that is queued for the server's disk, planned as the API does. */
async function queueImage(world: ServerWorld, serverId: string, { format = "raw", config = ON }: { format?: "raw" | "qcow2"; config?: typeof ON } = {}): Promise<Params> {
  const { services } = world.sagas;
  const device = await rootOf(world, serverId);
  await updateServer(world.db, serverId, { task_state: "image_snapshot_pending" });
  const imageId = await world.sagas.addQueuedImage(format);
  const increments = await incrementsOf({ db: world.db, config }, device);
  const ways = await new Materialise(services).planCapture({ subject: { kind: "server", id: serverId }, disk: diskId(device.disk_id ?? ""), form: { diskFormat: format }, guest: "running", only: "backup_job", ...increments });
  const disk = { target: "vda", deviceId: device.id, volumeId: null, ways, becomes: { kind: "image", id: imageId } as const, viewId: randomUUID() };
  return { serverId, imageId, disks: [disk], hasAgent: false, requiresQuiesce: false, runs: true };
}

async function capture(world: ServerWorld, serverId: string, how?: Parameters<typeof queueImage>[2]): Promise<Params & { readonly actual: Actual }> {
  const params = await queueImage(world, serverId, how);
  const { actual } = await world.run(captureServer, params);
  assert.equal((await world.sagas.image(params.imageId))?.status, "active", actual ?? "");
  return { ...params, actual: JSON.parse(actual ?? "{}") };
}

async function liveContent(world: ServerWorld, serverId: string): Promise<Buffer> {
  const disk = world.host.get(serverId).live?.find(({ target }) => target === "vda");
  assert.ok(disk);
  await using reader = await openReader(disk.node, {});
  const content = Buffer.alloc(SIZE_BYTES);
  for (let at = 0; at < SIZE_BYTES; at += MiB) if ((await reader.read(content.subarray(at, at + MiB), at)).zero) content.fill(0, at, at + MiB);
  return content;
}

async function assertEqualToLive(world: ServerWorld, { serverId, imageId }: Params): Promise<void> {
  await world.sagas.settle();
  const image = await world.sagas.image(imageId);
  const [stored, live] = [await world.sagas.content(image?.disk_id, SIZE_BYTES), await liveContent(world, serverId)];
  assert.ok(stored.equals(live), "the image holds what the disk holds");
}

async function running(world: ServerWorld): Promise<string> {
  return world.addRunning(someContent(SIZE_BYTES), SIZE_BYTES);
}

const planned = ({ disks }: Params): Plan => disks[0]?.ways[0] as Plan;
const whyNot = (params: Params): string => planned(params).passedOver.find(({ strategy }) => strategy === "copy_changes")?.because ?? "";
const checkpointsOf = (world: ServerWorld, serverId: string): string[] => [...world.host.get(serverId).checkpoints.keys()];

/** What a first image leaves, in less time: a base that the next one can be made of. */
async function addBase(world: ServerWorld, serverId: string): Promise<string> {
  const { hypervisor } = world.sagas.services;
  const { id, disk_id } = await rootOf(world, serverId);
  const imageId = await world.sagas.addImage(await liveContent(world, serverId));
  const folder = captureFolder(world.sagas.services.limits.servers.dir, serverId);
  await makeCaptureFolder(folder);
  await hypervisor.beginBackup(serverId, { name: "first", folder, disks: [{ target: "vda" }], checkpoint: "mica-first" });
  await hypervisor.endBackup(serverId);
  await rm(folder, { recursive: true });
  const live = await getDisk(world.db, diskId(disk_id ?? ""));
  await insertCaptureBase(world.db, { device_id: id, live_disk_id: live.id, live_parent_id: live.parent ?? null, image_id: imageId, checkpoint: "mica-first", frozen_disk_id: null });
  return imageId;
}

/** The guest remembers from one instant on at most, and what it says changed since makes, of that instant's image, what the disk holds. */
async function assertBaseIsTrue(world: ServerWorld, serverId: string): Promise<void> {
  const { hypervisor, limits } = world.sagas.services;
  const [base] = await captureBasesOf(world.db, serverId);
  assert.deepEqual(checkpointsOf(world, serverId), base ? [base.checkpoint] : []);
  if (!base) return;
  const content = await world.sagas.content((await world.sagas.image(base.image_id))?.disk_id, SIZE_BYTES);
  const folder = captureFolder(limits.servers.dir, serverId);
  await makeCaptureFolder(folder);
  const [view] = await hypervisor.beginBackup(serverId, { name: "check", folder, disks: [{ target: "vda", since: base.checkpoint ?? "" }] });
  await hypervisor.endBackup(serverId);
  await rm(folder, { recursive: true });
  const live = await liveContent(world, serverId);
  for (const { start, end } of view?.changed ?? []) live.copy(content, start, start, end);
  assert.ok(content.equals(live), "what it says changed is all that did");
}

sagaContract("captureServer of what changed", captureServer, async () => {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent(), SIZE_BYTES);
  const first = await addBase(world, serverId);
  await world.writeInGuest(serverId, MiB, 128 * KiB);
  const params = await queueImage(world, serverId);
  assert.equal(planned(params).strategy, "copy_changes");
  return {
    context: world.context(params),
    async assertDone() {
      await world.sagas.assertAuditClean(); // What is flattened in the background has ended by then.
      await assertEqualToLive(world, params);
      await assertBaseIsTrue(world, serverId);
    },
    async assertClean() {
      assert.equal(await world.sagas.image(params.imageId), undefined);
      assert.equal((await world.sagas.image(first))?.status, "active");
      await assertBaseIsTrue(world, serverId);
      await world.sagas.assertAuditClean();
    },
    isShown: async () => (await world.sagas.image(params.imageId))?.status === "active",
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("incremental images", () => {
  it("read only what changed: of one hundredth, less than a twentieth of the first one's bytes", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    const first = await capture(world, serverId);
    assert.match(whyNot(first), /no image of the disk from which on/);
    assert.equal(first.actual.strategy, "stream_convert");
    await world.writeInGuest(serverId, 64 * KiB, 20 * KiB);
    const second = await capture(world, serverId);
    assert.deepEqual([second.actual.strategy, second.actual.fellBack], ["copy_changes", undefined]);
    const [full, changed] = [first.actual.bytesRead ?? 0, second.actual.bytesRead ?? 0];
    assert.ok(changed > 0 && changed <= full / 20, `${changed} of ${full} bytes were read`);
    await assertEqualToLive(world, second);
    assert.equal(checkpointsOf(world, serverId).length, 1);
    await world.sagas.assertAuditClean();
  });

  it("are readable alone when the image before is gone, and the server", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    const first = await capture(world, serverId);
    await world.writeInGuest(serverId, MiB, 64 * KiB);
    const second = await capture(world, serverId);
    const live = await liveContent(world, serverId);
    await removeImage(world, first.imageId);
    await world.run(deleteServer, { serverId });
    await world.sagas.settle();
    const image = await world.sagas.image(second.imageId);
    assert.ok((await world.sagas.content(image?.disk_id, SIZE_BYTES)).equals(live));
    assert.ok(image?.hash_value, "it has a hash");
    await world.sagas.assertAuditClean();
  });

  it("are of all of the disk where its guest has lost what changed, and say so", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    await capture(world, serverId);
    await world.writeInGuest(serverId, MiB, 64 * KiB);
    const params = await queueImage(world, serverId);
    world.host.get(serverId).checkpoints.clear();
    const { actual } = await world.run(captureServer, params);
    const { strategy, fellBack }: Actual = JSON.parse(actual ?? "{}");
    assert.equal(strategy, "stream_convert");
    assert.match(JSON.stringify(fellBack), /copy_changes.*is not known any more/);
    await assertEqualToLive(world, params);
    assert.equal(planned(await queueImage(world, serverId)).strategy, "copy_changes");
  });

  it("are of all of the disk where it has changed in too many places to list them, and say so", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    await capture(world, serverId);
    await world.writeInGuest(serverId, MiB, 64 * KiB);
    const { hypervisor } = world.sagas.services;
    const [begin, prepare] = [hypervisor.beginBackup.bind(hypervisor), hypervisor.prepareBackup.bind(hypervisor)];
    const none = (backup: BackupRequest) => ({ ...backup, disks: backup.disks.map((disk) => ({ ...disk, changedCountMax: 0 })) });
    hypervisor.beginBackup = (id, backup, options) => begin(id, none(backup), options);
    hypervisor.prepareBackup = (id, backup, options) => prepare(id, none(backup), options);
    const { actual, ...params } = await capture(world, serverId);
    assert.equal(actual.strategy, "stream_convert");
    assert.match(JSON.stringify(actual.fellBack), /copy_changes.*has changed in more than 1000000 places/);
    await assertEqualToLive(world, params);
  });

  it("are of all of the disk where the image before was deleted", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    const { imageId } = await capture(world, serverId);
    const params = await queueImage(world, serverId);
    await removeImage(world, imageId);
    assert.deepEqual(await captureBasesOf(world.db, serverId), []);
    const { actual } = await world.run(captureServer, params);
    assert.match(actual ?? "", /stream_convert.*is not known any more|is not known any more.*stream_convert/);
    await assertEqualToLive(world, params);
  });

  it("forget a base whose disk is another file by now", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    await capture(world, serverId);
    const { id, disk_id } = await rootOf(world, serverId);
    assert.ok(await findCaptureBase(world.db, id));
    await setDiskParent(world.db, diskId(disk_id ?? ""), undefined);
    assert.equal(await findCaptureBase(world.db, id), undefined);
  });

  it("end where the operator wants none: its guest remembers nothing any more", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    await capture(world, serverId);
    assert.equal(checkpointsOf(world, serverId).length, 1);
    const second = await capture(world, serverId, { config: OFF });
    assert.equal(whyNot(second), "servers.incrementalImages is off");
    assert.deepEqual([checkpointsOf(world, serverId), await captureBasesOf(world.db, serverId)], [[], []]);
  });

  it("are raw, and of disks that kept their size", async () => {
    await using world = await ServerWorld.open();
    const serverId = await running(world);
    await capture(world, serverId);
    assert.match(whyNot(await queueImage(world, serverId, { format: "qcow2" })), /only raw images .* this one is to be qcow2/);
    await world.db.updateTable("disk").set({ virtual_size_bytes: 2 * SIZE_BYTES }).where("id", "=", (await rootOf(world, serverId)).disk_id).execute();
    assert.match(whyNot(await queueImage(world, serverId)), /made larger since/);
  });
});

async function removeImage(world: ServerWorld, imageId: string): Promise<void> {
  const { runner, db } = world.sagas;
  const diskId = (await world.sagas.image(imageId))?.disk_id ?? null;
  await db.transaction().execute((trx) => forgetImage(trx, imageId));
  await runner.run(await runner.begin(db, deleteImage, { imageId, diskId }, { projectId: null, userId: null, requestId: "req-1", subject: { kind: "image", id: imageId } }));
}

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { Materialise } from "#/app/materialise.ts";
import { endUnwanted, incrementsOf } from "#/app/previous-images.ts";
import { updateDevice } from "#/db/block-devices.ts";
import { insertCaptureBase } from "#/db/capture-bases.ts";
import { disksOf, findDisk, getDisk } from "#/db/disks.ts";
import { updateServer } from "#/db/servers.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId, poolName } from "#/domain/ids.ts";
import { KiB, MiB } from "#/lib/units.ts";
import type { Plan } from "#/planner/plan.ts";
import { type CaptureServer, captureServer } from "#/saga/capture-server.ts";
import type { Actual } from "#/saga/context.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { deleteServer } from "#/saga/delete-server.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { freezeDisk } from "#/saga/freeze-disk.ts";
import { powerServer } from "#/saga/power-server.ts";
import { rebuildServer } from "#/saga/rebuild-server.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const SIZE_BYTES = 4 * MiB;
const ON = { servers: { incrementalImages: true } } as Parameters<typeof incrementsOf>[0]["config"];
const OFF = { servers: { incrementalImages: false } } as typeof ON;

type Params = CaptureServer & { readonly imageId: string };

interface How {
  readonly config?: typeof ON;
  readonly pool?: "fast" | "far";
  readonly guest?: "running" | "off";
}

/** A running server in a pool that shares blocks, which images in pool `far` do not. */
async function withServer(): Promise<{ readonly world: ServerWorld; readonly serverId: string }> {
  const world = await ServerWorld.open({ sharesBlocks: true });
  return { world, serverId: await world.addRunning(someContent(SIZE_BYTES), SIZE_BYTES) };
}

/** An image that is queued for the server's disk, planned as the API does. */
async function queueImage(world: ServerWorld, serverId: string, { config = ON, pool = "far", guest = "running" }: How = {}): Promise<Params> {
  const [device] = await world.devices(serverId);
  assert.ok(device?.disk_id);
  await updateServer(world.db, serverId, { task_state: "image_snapshot_pending" });
  const imageId = await world.sagas.addQueuedImage("raw");
  const how = { ...(await incrementsOf({ db: world.db, config }, device)), guest, pool: poolName(pool), form: { diskFormat: "raw" } as const };
  const ways = await new Materialise(world.sagas.services).planCapture({ subject: { kind: "server", id: serverId }, disk: diskId(device.disk_id), ...how });
  const disk = { target: "vda", deviceId: device.id, volumeId: null, ways, becomes: { kind: "image", id: imageId } as const, viewId: randomUUID() };
  return { serverId, imageId, disks: [disk], hasAgent: false, requiresQuiesce: false, runs: guest === "running" };
}

async function captured(world: ServerWorld, params: Params): Promise<Params & { readonly actual: Actual }> {
  const { actual } = await world.run(captureServer, params);
  assert.equal((await world.sagas.image(params.imageId))?.status, "active", actual ?? "");
  await world.sagas.settle();
  return { ...params, actual: JSON.parse(actual ?? "{}") };
}

const capture = async (world: ServerWorld, serverId: string, how?: How) => captured(world, await queueImage(world, serverId, how));
const planned = ({ disks }: Params): Plan => disks[0]?.ways[0] as Plan;
const whyNot = (params: Params): string => planned(params).passedOver.find(({ strategy }) => strategy === "copy_changes")?.because ?? "";

/** As a guest does: something, somewhere. */
const write = (world: ServerWorld, serverId: string, offset = MiB) => world.writeInGuest(serverId, offset, 40 * KiB);

async function liveContent(world: ServerWorld, serverId: string): Promise<Buffer> {
  return world.sagas.content((await world.devices(serverId))[0]?.disk_id, SIZE_BYTES);
}

async function assertHolds(world: ServerWorld, { imageId }: Pick<Params, "imageId">, content: Buffer): Promise<void> {
  await world.sagas.settle();
  assert.ok((await world.sagas.content((await world.sagas.image(imageId))?.disk_id, SIZE_BYTES)).equals(content), "the image holds what the disk held");
}

/** What a first image leaves, in less time. */
async function addKept(world: ServerWorld, serverId: string): Promise<string> {
  const [device] = await world.devices(serverId);
  const live = await getDisk(world.db, diskId(device?.disk_id ?? ""));
  const imageId = await world.sagas.addImage(await liveContent(world, serverId), { pool: "far" });
  const { id } = await freezeDisk(world.sagas.services, live.id, diskId(randomUUID()), { kind: "base", id: imageId });
  await insertCaptureBase(world.db, { device_id: device?.id ?? "", live_disk_id: live.id, live_parent_id: live.parent ?? null, image_id: imageId, checkpoint: null, frozen_disk_id: id });
  return imageId;
}

/** The images whose instants are kept. */
async function kept(world: ServerWorld): Promise<string[]> {
  await world.sagas.settle();
  const rows = await world.db.selectFrom("disk").select("holder_id").where("holder_kind", "=", "base").execute();
  return rows.map(({ holder_id }) => holder_id);
}

async function keptDisk(world: ServerWorld, imageId: string): Promise<DiskId> {
  const [disk] = await disksOf(world.db, { kind: "base", id: imageId });
  assert.ok(disk);
  return disk.id;
}

async function removeImage(world: ServerWorld, imageId: string): Promise<void> {
  const { runner, db } = world.sagas;
  const imageDiskId = (await world.sagas.image(imageId))?.disk_id ?? null;
  const meta = { projectId: null, userId: null, requestId: "req-1", subject: { kind: "image", id: imageId } };
  const deletion = await db.transaction().execute(async (trx) => runner.begin(trx, deleteImage, { imageId, diskId: imageDiskId, keptDiskId: await forgetImage(trx, imageId) }, meta));
  await runner.run(deletion);
  await world.sagas.settle();
}

sagaContract("captureServer of what its pool knows to have changed", captureServer, async () => {
  const { world, serverId } = await withServer();
  const first = await addKept(world, serverId);
  await write(world, serverId);
  const params = await queueImage(world, serverId);
  assert.equal(planned(params).strategy, "copy_changes");
  return {
    context: world.context(params),
    async assertDone() {
      await world.sagas.assertAuditClean();
      await assertHolds(world, params, await liveContent(world, serverId));
      assert.deepEqual(await kept(world), [params.imageId]);
    },
    async assertClean() {
      assert.equal(await world.sagas.image(params.imageId), undefined);
      await world.sagas.assertAuditClean();
      const instants = await kept(world);
      assert.deepEqual(instants.filter((id) => id !== first), []);
      if (instants.length > 0) await assertHolds(world, { imageId: first }, await world.sagas.content(await keptDisk(world, first), SIZE_BYTES));
    },
    isShown: async () => (await world.sagas.image(params.imageId))?.status === "active",
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("an instant that a pool keeps of a server's disk", () => {
  it("has the next image read only what changed since, and makes way for that one's", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    const first = await capture(world, serverId);
    assert.match(whyNot(first), /no image of the disk from which on its guest or its pool knows/);
    assert.deepEqual([first.actual.strategy, planned(first).capture?.method, await kept(world)], ["stream_convert", "pool_snapshot", [first.imageId]]);
    await write(world, serverId);
    const second = await capture(world, serverId);
    assert.match(planned(second).reason, new RegExp(`Pool "fast" keeps what the disk held when image ${first.imageId} was made`));
    assert.deepEqual([second.actual.strategy, second.actual.fellBack, await kept(world)], ["copy_changes", undefined, [second.imageId]]);
    const [full, changed] = [first.actual.bytesRead ?? 0, second.actual.bytesRead ?? 0];
    assert.ok(changed > 0 && changed <= full / 20, `${changed} of ${full} bytes were read`);
    const content = await liveContent(world, serverId);
    await write(world, serverId, 3 * MiB);
    await removeImage(world, first.imageId);
    await assertHolds(world, second, content);
    await world.sagas.assertAuditClean();
  });

  it("is of use while the guest is off too", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    await capture(world, serverId);
    await write(world, serverId);
    await world.run(powerServer, { serverId, action: "os-stop" });
    const stopped = await capture(world, serverId, { guest: "off" });
    assert.deepEqual([planned(stopped).capture?.method, stopped.actual.strategy, await kept(world)], ["at_rest", "copy_changes", [stopped.imageId]]);
    await assertHolds(world, stopped, await liveContent(world, serverId));
    await world.sagas.assertAuditClean();
  });

  it("goes with its image, and the next one is of all of the disk", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    const { imageId } = await capture(world, serverId);
    const params = await queueImage(world, serverId);
    await removeImage(world, imageId);
    assert.deepEqual(await kept(world), []);
    const { actual } = await captured(world, params);
    assert.equal(actual.strategy, "stream_convert");
    assert.match(JSON.stringify(actual.fellBack), /copy_changes.*is not known any more/);
    await world.sagas.assertAuditClean();
    await assertHolds(world, params, await liveContent(world, serverId));
  });

  it("goes with its server, and not the images", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    await capture(world, serverId);
    await write(world, serverId);
    const second = await capture(world, serverId);
    const content = await liveContent(world, serverId);
    await world.run(deleteServer, { serverId });
    assert.deepEqual(await kept(world), []);
    await assertHolds(world, second, content);
    await world.sagas.assertAuditClean();
  });

  it("goes where the server gets another disk", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    await capture(world, serverId);
    const [device] = await world.devices(serverId);
    const imageId = await world.sagas.addImage(someContent(SIZE_BYTES));
    const root = { imageId, properties: "{}", form: null };
    const params = { serverId, deviceId: device?.id ?? "", volumeId: null, plan: await world.planDisk(imageId, SIZE_BYTES), newDiskId: randomUUID(), oldDiskId: device?.disk_id ?? "", before: root, after: root, vmState: "active" } as const;
    await world.run(rebuildServer, params);
    assert.deepEqual(await kept(world), []);
    await world.sagas.assertAuditClean();
    assert.match(whyNot(await queueImage(world, serverId)), /no image of the disk/);
  });

  it("goes where the operator wants none, and where the next image is a clone for nothing", async () => {
    for (const how of [{ config: OFF }, { pool: "fast" }] as const) {
      const { world, serverId } = await withServer();
      await using _ = world;
      await capture(world, serverId);
      const next = await capture(world, serverId, how);
      assert.equal(next.actual.strategy, "pool" in how ? "clone" : "stream_convert");
      assert.deepEqual(await kept(world), []);
      await world.sagas.assertAuditClean();
    }
  });

  it("that is frozen for one image only is there for the next way too, where the first one breaks", async (test) => {
    const { world, serverId } = await withServer();
    await using _ = world;
    test.mock.method(world.sagas.services.pools.get(poolName("fast")), "clone", async () => {
      throw new AppError("tool_failed", "the clone broke");
    });
    const made = await capture(world, serverId, { config: OFF, pool: "fast" });
    assert.deepEqual([planned(made).strategy, planned(made).capture?.method, made.actual.strategy], ["clone", "pool_snapshot", "offload_copy"]);
    await assertHolds(world, made, await liveContent(world, serverId));
    await world.sagas.assertAuditClean();
  });

  it("goes at the start of a Mica that is to keep none", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    const { imageId } = await capture(world, serverId);
    const start = async (config: typeof ON) => endUnwanted({ db: world.db, config, runner: world.sagas.runner });
    await start(ON);
    assert.deepEqual(await kept(world), [imageId]);
    await start(OFF);
    assert.deepEqual(await kept(world), []);
    await world.sagas.assertAuditClean();
  });

  it("that is of another disk, or lost, is seen to be so: all is read", async () => {
    const { world, serverId } = await withServer();
    await using _ = world;
    const { imageId } = await capture(world, serverId);
    const params = await queueImage(world, serverId);
    const lost = await keptDisk(world, imageId);
    await world.sagas.services.pools.get(poolName("fast")).delete(lost);
    const { actual } = await captured(world, params);
    assert.deepEqual([actual.strategy, actual.fellBack?.map(({ strategy }) => strategy)], ["stream_convert", ["copy_changes"]]);
    assert.equal(await findDisk(world.db, lost), undefined);
    const [device] = await world.devices(serverId);
    await updateDevice(world.db, device?.id ?? "", { disk_id: (await world.sagas.image(imageId))?.disk_id ?? null });
    assert.match(whyNot(await queueImage(world, serverId)), /no image of the disk/);
  });
});

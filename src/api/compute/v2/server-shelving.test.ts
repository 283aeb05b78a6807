import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ShelvedOffloader } from "#/app/shelved-offloader.ts";
import { devicesOf } from "#/db/block-devices.ts";
import { loadImage, removeImage, updateImage } from "#/db/images.ts";
import type { Image } from "#/domain/image.ts";
import { DAY_MS, MINUTE_MS } from "#/lib/units.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { ComputeWorld } from "./test-world.ts";

async function act(world: ComputeWorld, id: string, body: object, { status = 202, as = world.alice } = {}): Promise<void> {
  await world.expect(status, "POST", `/servers/${id}/action`, { as, body });
  await world.base.settle();
}

async function statusOf(world: ComputeWorld, id: string): Promise<string> {
  const { server } = await world.expect(200, "GET", `/servers/${id}`);
  assert.equal(server["OS-EXT-STS:task_state"], null, JSON.stringify(server.fault));
  return server.status;
}

async function imagesNamed(world: ComputeWorld, name: string): Promise<(Image | undefined)[]> {
  const { db } = world.base.context;
  const rows = await db.selectFrom("image").select("id").where("name", "=", name).execute();
  return Promise.all(rows.map(({ id }) => loadImage(db, id)));
}

/** As the Image API does it. */
async function deleteImageNamed(world: ComputeWorld, name: string): Promise<void> {
  const { db, runner } = world.base.context;
  const [image] = await imagesNamed(world, name);
  assert.ok(image);
  const { id, diskId } = image;
  const meta = { projectId: null, userId: null, requestId: "req-1", subject: { kind: "image", id } };
  const deletion = await db.transaction().execute(async (trx) => runner.begin(trx, deleteImage, { imageId: id, diskId, keptDiskId: await forgetImage(trx, id) }, meta));
  await runner.run(deletion);
}

/** Where servers stay on their host for as long. */
async function worldOf(shelvedOffloadMs: number): Promise<ComputeWorld> {
  const world = await ComputeWorld.open();
  Object.assign(world.base.context.config.servers, { shelvedOffloadMs });
  return world;
}

describe("a shelved server", () => {
  it("has an image with a name as long as names may be", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer({ name: "n".repeat(255) });
    await act(world, id, { shelve: null });
    assert.equal(await statusOf(world, id), "SHELVED_OFFLOADED");
    assert.equal((await imagesNamed(world, `${"n".repeat(247)}-shelved`)).length, 1);
  });

  it("is refused with 403 where its image would have more properties than images have", async () => {
    await using world = await ComputeWorld.open();
    const properties = Object.fromEntries(Array.from({ length: 124 }, (_, n) => [`key${n}`, ""]));
    const id = await world.makeServer({ imageRef: await world.base.makeImage({ properties }) });
    assert.match(await world.refusal(403, "POST", `/servers/${id}/action`, { body: { shelve: null } }), /allowed image properties/);
  });

  it("is an image of its name, comes back from it with its other disks, and then it is gone", async () => {
    await using world = await ComputeWorld.open();
    const ephemeral = { source_type: "blank", destination_type: "local", boot_index: -1, volume_size: 1 };
    const imageRef = await world.base.makeImage();
    const { flavor } = await world.expect(200, "POST", "/flavors", { as: world.admin, body: { flavor: { name: "scratch", ram: 64, vcpus: 1, disk: 1, "OS-FLV-EXT-DATA:ephemeral": 1 } } });
    const root = { source_type: "image", uuid: imageRef, destination_type: "local", boot_index: 0 };
    const id = await world.makeServer({ imageRef, flavorRef: flavor.id, block_device_mapping_v2: [root, ephemeral] });
    const before = await devicesOf(world.base.context.db, id);
    await act(world, id, { shelve: null });
    assert.equal(await statusOf(world, id), "SHELVED_OFFLOADED");
    const [image, ...others] = await imagesNamed(world, "one-shelved");
    assert.deepEqual([image?.status, image?.visibility, image?.owner, others.length], ["active", "private", world.alice.projectId, 0]);
    assert.deepEqual([image?.properties["image_type"], image?.properties["instance_uuid"], image?.properties["base_image_ref"]], ["snapshot", id, imageRef]);
    const away = await devicesOf(world.base.context.db, id);
    assert.deepEqual(away.map(({ disk_id }) => disk_id), [null, before[1]?.disk_id]);
    await act(world, id, { "os-start": null }, { status: 409 });
    await act(world, id, { shelveOffload: null }, { status: 409, as: world.admin });
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    assert.deepEqual(await imagesNamed(world, "one-shelved"), []);
    const back = await devicesOf(world.base.context.db, id);
    assert.ok(back[0]?.disk_id);
    assert.equal(back[1]?.disk_id, before[1]?.disk_id);
    await world.base.assertAuditClean();
  });

  it("takes its image along when it is deleted", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await act(world, id, { shelve: null });
    await world.expect(204, "DELETE", `/servers/${id}`);
    await world.base.settle();
    assert.deepEqual(await imagesNamed(world, "one-shelved"), []);
    await world.base.assertAuditClean();
  });

  it("does not come back without its image, and says so", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await act(world, id, { shelve: null });
    const [image] = await imagesNamed(world, "one-shelved");
    const { db } = world.base.context;
    await updateImage(db, image?.id ?? "", { status: "deactivated" });
    assert.match(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { unshelve: null } }), /image .* is deactivated/);
    await db.transaction().execute((trx) => removeImage(trx, image?.id ?? ""));
    assert.match(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { unshelve: null } }), /Unshelve attempted but the image .* cannot be found/);
    assert.equal(await statusOf(world, id), "SHELVED_OFFLOADED");
  });

  it("that has given up its root volume comes back only from that, or from another one that boots", async () => {
    await using world = await ComputeWorld.open();
    const root = { boot_index: 0, uuid: await world.base.makeImage(), source_type: "image", destination_type: "volume", volume_size: 1 };
    const id = await world.makeServer({ imageRef: "", block_device_mapping_v2: [root] });
    const [{ volume_id: rootId } = { volume_id: null }] = await devicesOf(world.base.context.db, id);
    const attach = async (volumeId: string | null) => {
      await world.expect(202, "POST", `/servers/${id}/os-volume_attachments`, { body: { volumeAttachment: { volumeId } } });
      await world.base.settle();
    };
    await act(world, id, { shelve: null });
    await world.expect(202, "DELETE", `/servers/${id}/os-volume_attachments/${rootId}`);
    await world.base.settle();
    await attach(await world.base.makeVolume());
    assert.match(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { unshelve: null } }), /has nothing to boot from/);
    await attach(rootId);
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    const bootIndexes = new Map((await devicesOf(world.base.context.db, id)).map(({ volume_id, boot_index }) => [volume_id === rootId, boot_index]));
    assert.deepEqual([bootIndexes.get(true), bootIndexes.get(false)], [0, null]);
    await world.base.assertAuditClean();
  });

  it("has no console, as one that is being made has none", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await act(world, id, { shelve: null });
    assert.equal(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { "os-getConsoleOutput": {} } }), `Cannot 'os-getConsoleOutput' instance ${id} while it is in vm_state shelved_offloaded`);
  });

  it("of a volume has no image, keeps its volumes, and leaves at once", async () => {
    await using world = await worldOf(-1);
    const uuid = await world.base.makeImage();
    const root = { boot_index: 0, uuid, source_type: "image", destination_type: "volume", volume_size: 1, delete_on_termination: true };
    const id = await world.makeServer({ imageRef: "", block_device_mapping_v2: [root] });
    const before = await devicesOf(world.base.context.db, id);
    await act(world, id, { shelve: null });
    assert.equal(await statusOf(world, id), "SHELVED_OFFLOADED");
    assert.deepEqual(await imagesNamed(world, "one-shelved"), []);
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    assert.deepEqual(await devicesOf(world.base.context.db, id), before);
    await world.base.assertAuditClean();
  });

  it("stays on its host for as long as its operator says, or until it is told to leave", async () => {
    await using world = await worldOf(DAY_MS);
    const { context } = world.base;
    const id = await world.makeServer();
    await act(world, id, { shelve: null });
    assert.equal(await statusOf(world, id), "SHELVED");
    assert.equal((await imagesNamed(world, "one-shelved"))[0]?.status, "active");
    await act(world, id, { unshelve: { availability_zone: "nova" } }, { status: 409 });
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    assert.deepEqual(await imagesNamed(world, "one-shelved"), []);
    await act(world, id, { shelve: null });
    await act(world, id, { shelveOffload: null }, { as: world.admin });
    assert.equal(await statusOf(world, id), "SHELVED_OFFLOADED");
    await act(world, id, { unshelve: { availability_zone: "nova" } });
    await act(world, id, { shelve: null });
    await deleteImageNamed(world, "one-shelved");
    await act(world, id, { shelveOffload: null }, { as: world.admin });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.equal(server.status, "SHELVED", "its own disk is all there is");
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    await act(world, id, { shelve: null });
    using offloader = new ShelvedOffloader(context);
    await offloader.offloadDue();
    assert.equal(await statusOf(world, id), "SHELVED");
    const later = { ...context, clock: { nowMs: () => context.clock.nowMs() + DAY_MS } };
    using inADay = new ShelvedOffloader(later);
    await Promise.all([inADay.offloadDue(), inADay.offloadDue()]);
    assert.equal(await statusOf(world, id), "SHELVED_OFFLOADED");
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    await world.base.assertAuditClean();
  });

  it("stays as it is where it is paused, and the only method that the operator allows is not open", async () => {
    await using world = await ComputeWorld.open();
    Object.assign(world.base.context.config.servers, { captureMethod: "pool_snapshot" });
    const id = await world.makeServer();
    await act(world, id, { pause: null });
    assert.match(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { shelve: null } }), /only pool_snapshot, which is not possible in its pool/);
    assert.equal(await statusOf(world, id), "PAUSED");
    assert.deepEqual(await imagesNamed(world, "one-shelved"), []);
  });

  it("stays on its host while its image may not be used", async () => {
    await using world = await worldOf(DAY_MS);
    const { context } = world.base;
    const id = await world.makeServer();
    await act(world, id, { shelve: null });
    const [image] = await imagesNamed(world, "one-shelved");
    await updateImage(context.db, image?.id ?? "", { status: "deactivated" });
    using inADay = new ShelvedOffloader({ ...context, clock: { nowMs: () => context.clock.nowMs() + DAY_MS } });
    await inADay.offloadDue();
    assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server.fault, undefined, "nothing was tried");
    await act(world, id, { shelveOffload: null }, { as: world.admin });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, (await devicesOf(context.db, id))[0]?.disk_id === null], ["SHELVED", false]);
    await act(world, id, { unshelve: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
  });

  it("is looked for each minute only where none is to be found", async (t) => {
    await using world = await worldOf(0);
    const { mock } = t.mock.method(globalThis, "setInterval");
    using _ = new ShelvedOffloader(world.base.context);
    assert.deepEqual(mock.calls.map(({ arguments: [, periodMs] }) => periodMs), [MINUTE_MS]);
  });

  it("is brought back again and again without reading through ever more disks", async () => {
    await using world = await ComputeWorld.open();
    const { db, pools } = world.base.context;
    const [pool] = [...pools];
    Object.assign(pool?.limits ?? {}, { cloneDepthMax: 2 });
    const id = await world.makeServer();
    for (let round = 0; round < 5; round++) {
      await act(world, id, { shelve: null });
      await act(world, id, { unshelve: null });
      assert.equal(await statusOf(world, id), "ACTIVE");
    }
    const disks = await db.selectFrom("disk").select(["id", "parent_id"]).execute();
    assert.ok(disks.length <= 5, `${disks.length} disks`); // The image's and the cache's, and three that read through each other.
    await world.base.assertAuditClean();
  });

  it("whose image somebody else made, can come back by its own project too", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await world.expect(202, "POST", `/servers/${id}/action`, { as: world.admin, body: { shelve: null } });
    await world.base.settle();
    const [image] = await imagesNamed(world, "one-shelved");
    assert.deepEqual([image?.visibility, image?.owner], ["shared", world.admin.projectId]);
    await act(world, id, { unshelve: null });
    assert.deepEqual(await imagesNamed(world, "one-shelved"), []);
    await world.base.assertAuditClean();
  });
});

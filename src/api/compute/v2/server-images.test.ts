import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadImage, removeImage } from "#/db/images.ts";
import { snapshotsOfImage } from "#/db/snapshots.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { ComputeWorld } from "./test-world.ts";

/** A server that boots from a volume of an image, with a second volume. */
async function volumeBacked(world: ComputeWorld): Promise<{ id: string; dataId: string }> {
  const uuid = await world.base.makeImage();
  const root = { boot_index: 0, uuid, source_type: "image", destination_type: "volume", volume_size: 1, delete_on_termination: true };
  const data = { boot_index: -1, source_type: "blank", destination_type: "volume", volume_size: 1, tag: "data" };
  const id = await world.makeServer({ imageRef: "", block_device_mapping_v2: [root, data] });
  const { server } = await world.expect(200, "GET", `/servers/${id}`);
  return { id, dataId: server["os-extended-volumes:volumes_attached"][1].id };
}

const act = (world: ComputeWorld, id: string, body: object, minor = 104) => world.ask("POST", `/servers/${id}/action`, { minor, body });

async function createImage(world: ComputeWorld, id: string, argument: object = {}): Promise<string> {
  const { image_id } = await world.expect(202, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy", ...argument } } });
  await world.base.settle();
  return image_id;
}

/** As the Image API does it. */
async function deleteImageOf(world: ComputeWorld, imageId: string): Promise<void> {
  const { db, runner } = world.base.context;
  const operation = await db.transaction().execute(async (trx) => {
    await removeImage(trx, imageId);
    return runner.begin(trx, deleteImage, { imageId, diskId: null }, { projectId: null, userId: null, requestId: "req-1", subject: { kind: "image", id: imageId } });
  });
  await runner.run(operation);
}

describe("createImage", () => {
  it("makes an image of a server's disk, which says what it is and how it came about", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const imageId = await createImage(world, id, { metadata: { purpose: "test" } });
    const image = await loadImage(world.base.context.db, imageId);
    const { base_image_ref, mica_captured_at, ...properties } = image?.properties ?? {};
    assert.deepEqual(properties, {
      architecture: "x86_64",
      os_distro: "cirros",
      image_type: "snapshot",
      image_location: "snapshot",
      image_state: "available",
      instance_uuid: id,
      owner_id: world.alice.projectId,
      user_id: world.alice.userId,
      purpose: "test",
      mica_capture_method: "backup_job",
      mica_consistency: "crash",
      mica_freeze_ms: "0",
      mica_downtime_ms: "0",
    });
    assert.ok(base_image_ref && mica_captured_at);
    assert.deepEqual([image?.status, image?.diskFormat, image?.containerFormat, image?.visibility], ["active", "qcow2", "bare", "private"]);
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, server["OS-EXT-STS:task_state"]], ["ACTIVE", null]);
    const { instanceActions } = await world.expect(200, "GET", `/servers/${id}/os-instance-actions`);
    assert.equal(instanceActions[0].action, "createImage");
    await world.makeServer({ imageRef: imageId });
    await world.base.assertAuditClean();
  });

  it("answers as the microversion has it", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const old = await act(world, id, { createImage: { name: "copy" } }, 44);
    assert.deepEqual([old.statusCode, old.body], [202, ""]);
    assert.match(String(old.headers.location), /\/image\/v2\/images\/[0-9a-f-]{36}$/);
    await world.base.settle();
    assert.equal((await act(world, id, { createImage: {} })).statusCode, 400);
    assert.equal((await act(world, id, { createImage: { name: "copy", metadata: { "?": "" } } })).statusCode, 400);
  });

  it("is refused while something is being done, in Nova's words", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await world.base.context.db.updateTable("server").set({ task_state: "rebooting" }).execute();
    assert.equal(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy" } } }), `Cannot 'createImage' instance ${id} while it is in task_state rebooting`);
    await world.base.context.db.updateTable("server").set({ task_state: null }).execute();
    const strict = await world.makeServer({ imageRef: await world.base.makeImage({ properties: { os_require_quiesce: "yes" } }) });
    assert.match(await world.refusal(409, "POST", `/servers/${strict}/action`, { body: { createImage: { name: "copy" } } }), /^Failed to quiesce instance: /);
    assert.equal((await world.expect(200, "GET", `/servers/${strict}`)).server["OS-EXT-STS:task_state"], null);
  });

  it("is refused where the only method that the operator allows is not open", async () => {
    const properties = { os_require_quiesce: "yes", hw_qemu_guest_agent: "yes" };
    for (const [captureMethod, because] of [["pool_snapshot", /only pool_snapshot, which is not possible in its pool/], ["cold", /only cold, which does not freeze file systems/]] as const) {
      await using world = await ComputeWorld.open();
      Object.assign(world.base.context.config.servers, { captureMethod });
      const id = await world.makeServer({ imageRef: await world.base.makeImage({ properties }) });
      assert.match(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy" } } }), because);
    }
  });

  for (const [action, state] of [["pause", "paused"], ["suspend", "suspended"]] as const) {
    it(`is refused of a ${state} server whose file systems must be frozen`, async () => {
      await using world = await ComputeWorld.open();
      const properties = { os_require_quiesce: "yes", hw_qemu_guest_agent: "yes" };
      const id = await world.makeServer({ imageRef: await world.base.makeImage({ properties }) });
      await act(world, id, { [action]: null });
      await world.base.settle();
      const refusal = await world.refusal(409, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy" } } });
      assert.match(refusal, new RegExp(`^Failed to quiesce instance: the guest is ${state}: `));
    });
  }

  it("of a server of volumes stands for snapshots, boots as they are, and takes them along", async () => {
    await using world = await ComputeWorld.open();
    const { id, dataId } = await volumeBacked(world);
    const imageId = await createImage(world, id);
    const image = await loadImage(world.base.context.db, imageId);
    assert.deepEqual([image?.status, image?.sizeBytes, image?.properties["bdm_v2"], image?.properties["root_device_name"]], ["active", 0, "True", "/dev/vda"]);
    const mapping = JSON.parse(image?.properties["block_device_mapping"] ?? "[]");
    const snapshots = await snapshotsOfImage(world.base.context.db, imageId);
    assert.deepEqual(snapshots.map(({ status, name }) => [status, name]), [["available", "snapshot for copy"], ["available", "snapshot for copy"]]);
    assert.deepEqual(new Set(mapping.map(({ snapshot_id }: { snapshot_id: string }) => snapshot_id)), new Set(snapshots.map((snapshot) => snapshot.id)));
    assert.deepEqual(mapping.map(({ boot_index, tag, volume_size }: Record<string, unknown>) => [boot_index, tag, volume_size]), [[0, null, 1], [null, "data", 1]]);
    const [snapshot] = snapshots.filter(({ volume_id }) => volume_id === dataId);
    const refusal = await world.base.expect(400, "DELETE", `/snapshots/${snapshot?.id}`);
    assert.match(JSON.stringify(refusal), /is part of image .* delete the image/);

    const copy = await world.makeServer({ imageRef: imageId });
    const { server } = await world.expect(200, "GET", `/servers/${copy}`);
    assert.deepEqual([server.status, server["os-extended-volumes:volumes_attached"].length], ["ACTIVE", 2]);
    await deleteImageOf(world, imageId);
    assert.deepEqual(await snapshotsOfImage(world.base.context.db, imageId), []);
    await world.base.assertAuditClean();
  });

  it("of all disks takes snapshots of the volumes of the same instant, and a server of it has them all", async () => {
    await using world = await ComputeWorld.open();
    const data = { boot_index: -1, source_type: "blank", destination_type: "volume", volume_size: 1, tag: "data" };
    const root = { boot_index: 0, uuid: await world.base.makeImage(), source_type: "image", destination_type: "local" };
    const id = await world.makeServer({ imageRef: root.uuid, block_device_mapping_v2: [root, data] });
    assert.match(await world.refusal(400, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy", metadata: { mica_disks: "some" } } } }), /mica_disks is "some"/);
    const plain = await loadImage(world.base.context.db, await createImage(world, id));
    assert.equal(plain?.properties["block_device_mapping"], undefined);

    const imageId = await createImage(world, id, { metadata: { mica_disks: "all" } });
    const image = await loadImage(world.base.context.db, imageId);
    assert.deepEqual([image?.status, (image?.sizeBytes ?? 0) > 0, image?.diskId, image?.properties["mica_disks"]], ["active", true, imageId, "all"]);
    const [snapshot] = await snapshotsOfImage(world.base.context.db, imageId);
    const mapping = JSON.parse(image?.properties["block_device_mapping"] ?? "[]");
    assert.deepEqual(mapping.map(({ snapshot_id, boot_index, tag }: Record<string, unknown>) => [snapshot_id, boot_index, tag]), [[snapshot?.id, null, "data"]]);

    const copy = await world.makeServer({ imageRef: imageId });
    const { server } = await world.expect(200, "GET", `/servers/${copy}`);
    assert.deepEqual([server.status, server.image.id, server["os-extended-volumes:volumes_attached"].length], ["ACTIVE", imageId, 1]);
    await world.base.assertAuditClean();
  });

  it("beyond the quota of snapshots is forbidden, and leaves nothing", async () => {
    await using world = await ComputeWorld.open({ quotas: { snapshots: 1 } });
    const { id } = await volumeBacked(world);
    await world.refusal(403, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy" } } });
    assert.deepEqual(await world.base.context.db.selectFrom("snapshot").selectAll().execute(), []);
    await world.base.assertAuditClean();
  });
});

describe("createBackup", () => {
  it("keeps as many of a type as it says, and the others of other types", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const backup = async (name: string, type: string, rotation: number) => {
      await world.expect(202, "POST", `/servers/${id}/action`, { body: { createBackup: { name, backup_type: type, rotation } } });
      await world.base.settle();
    };
    for (const name of ["one", "two", "three"]) await backup(name, "daily", 2);
    await backup("week", "weekly", 1);
    const names = async () => (await world.base.context.db.selectFrom("image").select("name").where("name", "in", ["one", "two", "three", "week", "none"]).orderBy("created_at").execute()).map((image) => image.name);
    assert.deepEqual(await names(), ["two", "three", "week"]);
    await backup("none", "daily", 0);
    assert.deepEqual(await names(), ["week"]);
    await world.base.assertAuditClean();
  });

  it("is for servers of images", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await volumeBacked(world);
    const body = { createBackup: { name: "copy", backup_type: "daily", rotation: 1 } };
    assert.equal(await world.refusal(400, "POST", `/servers/${id}/action`, { body }), "Backup is not supported for volume-backed instances.");
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadImage, removeImage, updateImage } from "#/db/images.ts";
import { snapshotsOfImage } from "#/db/snapshots.ts";
import { GiB } from "#/lib/units.ts";
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

  it("says who asked for it, and takes of the metadata what the Image API takes as properties", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const admin = world.admin;
    const { image_id: imageId } = await world.expect(202, "POST", `/servers/${id}/action`, { as: admin, body: { createImage: { name: "copy" } } });
    await world.base.settle();
    const image = await loadImage(world.base.context.db, imageId);
    assert.deepEqual([image?.properties["user_id"], image?.properties["owner_id"], image?.visibility], [admin.userId, world.alice.projectId, "shared"]);
    const many = Object.fromEntries(Array.from({ length: 128 }, (_, n) => [`key${n}`, ""]));
    const refused = [[403, { status: "queued" }], [403, { os_glance_stage_host: "x" }], [400, { min_ram: "1" }], [400, { id: imageId }], [400, { kernel_id: "none" }], [403, many]] as const;
    for (const [status, metadata] of refused) {
      await world.refusal(status, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy", metadata } } });
      await world.refusal(status, "POST", `/servers/${id}/action`, { body: { createBackup: { name: "copy", backup_type: "daily", rotation: 1, metadata } } });
    }
  });

  it("has no more metadata than a server may have before 2.39", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await world.expect(200, "PUT", `/os-quota-sets/${world.alice.projectId}`, { as: world.admin, body: { quota_set: { metadata_items: 1 } } });
    for (const body of [{ createImage: { name: "copy", metadata: { a: "", b: "" } } }, { createBackup: { name: "copy", backup_type: "daily", rotation: 1, metadata: { a: "", b: "" } } }]) {
      assert.match(await world.refusal(403, "POST", `/servers/${id}/action`, { minor: 38, body }), /^Image metadata limit exceeded/);
      await world.expect(202, "POST", `/servers/${id}/action`, { minor: 39, body });
      await world.base.settle();
    }
    await world.expect(202, "POST", `/servers/${id}/action`, { minor: 38, body: { createImage: { name: "copy", metadata: { a: "" } } } });
  });

  it("is nobody else's to fill while it waits for its turn, as an image of a volume does here", async (t) => {
    await using world = await ComputeWorld.open({ enableForceUpload: true });
    const { id, dataId } = await volumeBacked(world);
    const { db, hypervisor } = world.base.context;
    const [begun, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const beginBackup = hypervisor.beginBackup.bind(hypervisor);
    t.mock.method(hypervisor, "beginBackup", async (...how: Parameters<typeof beginBackup>) => {
      begun.resolve();
      await goesOn.promise;
      return beginBackup(...how);
    });
    const { image_id: first } = await world.expect(202, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy" } } });
    await begun.promise;
    const upload = { image_name: "copy", disk_format: "qcow2", container_format: "bare", force: true };
    const answer = await world.base.expect(202, "POST", `/volumes/${dataId}/action`, { body: { "os-volume_upload_image": upload } });
    const second = answer["os-volume_upload_image"].image_id;
    const statuses = async () => Promise.all([first, second].map(async (image) => (await loadImage(db, image))?.status));
    const meanwhile = await statuses();
    goesOn.resolve();
    await world.base.settle();
    assert.deepEqual([meanwhile, await statuses()], [["saving", "saving"], ["active", "active"]]);
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

  it("is refused where the server is started while it is decided how its disk is read", async (t) => {
    await using world = await ComputeWorld.open();
    const { hypervisor } = world.base.context;
    const id = await world.makeServer();
    const run = async (body: object) => {
      await world.expect(202, "POST", `/servers/${id}/action`, { body });
      await world.base.settle();
    };
    await run({ "os-stop": null });
    const stat = hypervisor.stat.bind(hypervisor);
    const looked = t.mock.method(hypervisor, "stat", async (...how: Parameters<typeof stat>) => {
      looked.mock.restore();
      const guest = await stat(...how);
      await run({ "os-start": null });
      return guest;
    });
    assert.equal(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { createImage: { name: "copy" } } }), `Cannot 'createImage' instance ${id} while it is in vm_state active`);
    await createImage(world, id);
  });

  it("is taken of a locked server too, as a backup is: neither changes it", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await world.expect(202, "POST", `/servers/${id}/action`, { body: { lock: null } });
    await createImage(world, id);
    await world.expect(202, "POST", `/servers/${id}/action`, { body: { createBackup: { name: "copy", backup_type: "daily", rotation: 1 } } });
    await world.base.settle();
    assert.equal(await world.refusal(409, "POST", `/servers/${id}/action`, { body: { shelve: null } }), `Instance ${id} is locked`);
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

  it("keeps the form of the image that the server was made of, or last made anew of, when that is deleted", async () => {
    await using world = await ComputeWorld.open();
    const { db } = world.base.context;
    const bases = await Promise.all(["first", "second"].map(() => world.base.makeImage()));
    for (const [index, base] of bases.entries()) await updateImage(db, base, { disk_format: "ami", container_format: "ami", min_ram_mib: 16 + index, min_disk_gib: 1 });
    const [first = "", second = ""] = bases;
    const id = await world.makeServer({ imageRef: first });
    const formOfCopy = async () => {
      const copy = await loadImage(db, await createImage(world, id));
      return [copy?.status, copy?.diskFormat, copy?.containerFormat, copy?.minRamMib, copy?.minDiskGib];
    };
    await deleteImageOf(world, first);
    assert.deepEqual(await formOfCopy(), ["active", "ami", "ami", 16, 1]);
    await world.expect(202, "POST", `/servers/${id}/action`, { body: { rebuild: { imageRef: second } } });
    await world.base.settle();
    await deleteImageOf(world, second);
    assert.deepEqual(await formOfCopy(), ["active", "ami", "ami", 17, 1]);
  });

  it("of a server of volumes stands for snapshots, boots as they are, and takes them along", async () => {
    await using world = await ComputeWorld.open();
    const { id, dataId } = await volumeBacked(world);
    const imageId = await createImage(world, id);
    const image = await loadImage(world.base.context.db, imageId);
    assert.deepEqual([image?.status, image?.sizeBytes, image?.properties["bdm_v2"], image?.properties["root_device_name"]], ["active", 0, "True", "/dev/vda"]);
    const ofOldImage = ["image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size"];
    assert.deepEqual([ofOldImage.filter((name) => name in (image?.properties ?? {})), image?.properties["os_distro"]], [[], "cirros"]);
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

  it("of a server of volumes boots with what the request names in their place, and without what it does not want", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await volumeBacked(world);
    const imageRef = await createImage(world, id);
    const disksWith = async (...block_device_mapping_v2: object[]) => {
      const copy = await world.makeServer({ imageRef, block_device_mapping_v2 });
      const rows = await world.base.context.db.selectFrom("block_device").selectAll().where("server_id", "=", copy).orderBy("target").execute();
      return rows.map(({ target, source, size_bytes }) => [target, source, size_bytes / GiB]);
    };
    const larger = { device_name: "vdb", source_type: "blank", destination_type: "volume", volume_size: 3, boot_index: -1 };
    assert.deepEqual(await disksWith(larger), [["vda", "snapshot", 1], ["vdb", "blank", 3]]);
    assert.deepEqual(await disksWith({ device_name: "/dev/vdb", no_device: true }), [["vda", "snapshot", 1]]);
    const server = { name: "one", imageRef, flavorRef: "42", networks: "none", block_device_mapping_v2: [{ device_name: "/dev/vda", no_device: true }] };
    await world.refusal(400, "POST", "/servers", { body: { server } });
  });

  it("of a server of volumes boots with blank disks of the server's own as large as they were", async () => {
    await using world = await ComputeWorld.open();
    const flavor = { name: "swapping", id: "swapping", vcpus: 1, ram: 192, disk: 1, swap: 64, "OS-FLV-EXT-DATA:ephemeral": 1 };
    await world.expect(200, "POST", "/flavors", { as: world.admin, body: { flavor } });
    const root = { boot_index: 0, uuid: await world.base.makeImage(), source_type: "image", destination_type: "volume", volume_size: 1 };
    const disksOf = async (fields: object) => {
      const id = await world.makeServer({ flavorRef: "swapping", ...fields });
      const rows = await world.base.context.db.selectFrom("block_device").selectAll().where("server_id", "=", id).orderBy("target").execute();
      return { id, disks: rows.map(({ target, guest_format, size_bytes }) => [target, guest_format, size_bytes / GiB]) };
    };
    const { id, disks } = await disksOf({ imageRef: "", block_device_mapping_v2: [root] });
    assert.deepEqual(disks, [["vda", null, 1], ["vdb", null, 1], ["vdc", "swap", 1 / 16]]);
    assert.deepEqual((await disksOf({ imageRef: await createImage(world, id) })).disks, disks);
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
    const names = async () => (await world.base.context.db.selectFrom("image").select("name").where("name", "in", ["one", "two", "three", "week", "four", "none"]).orderBy("created_at").execute()).map((image) => image.name);
    assert.deepEqual(await names(), ["two", "three", "week"]);
    const disguised = { createBackup: { name: "four", backup_type: "daily", rotation: 2, metadata: { backup_type: "weekly", image_type: "snapshot" } } };
    await world.expect(202, "POST", `/servers/${id}/action`, { body: disguised });
    await world.base.settle();
    assert.deepEqual(await names(), ["three", "week", "four"]);
    await backup("none", "daily", 0);
    assert.deepEqual(await names(), ["week"]);
    await world.base.assertAuditClean();
  });

  it("answers with the image's id from 2.45 on, also where it is not kept; with its address before, only where it is", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const answer = async (rotation: number, minor: number) => {
      const { statusCode, body, headers } = await act(world, id, { createBackup: { name: "copy", backup_type: "daily", rotation } }, minor);
      await world.base.settle();
      return [statusCode, /^\{"image_id":"[0-9a-f-]{36}"\}$/.test(body) || body, headers.location !== undefined];
    };
    assert.deepEqual(await answer(0, 45), [202, true, false]);
    assert.deepEqual(await answer(1, 45), [202, true, false]);
    assert.deepEqual(await answer(0, 44), [202, "", false]);
    assert.deepEqual(await answer(1, 44), [202, "", true]);
  });

  it("is of a type that can be kept as it was sent", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const body = { createBackup: { name: "copy", backup_type: "\ud800", rotation: 1 } };
    assert.match(await world.refusal(400, "POST", `/servers/${id}/action`, { body }), /not valid Unicode/);
  });

  it("is for servers of images", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await volumeBacked(world);
    const body = { createBackup: { name: "copy", backup_type: "daily", rotation: 1 } };
    assert.equal(await world.refusal(400, "POST", `/servers/${id}/action`, { body }), "Backup is not supported for volume-backed instances.");
  });
});

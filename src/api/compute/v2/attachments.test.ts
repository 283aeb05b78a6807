import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadImage } from "#/db/images.ts";
import { ComputeWorld } from "./test-world.ts";

describe("volumes of servers", () => {
  it("are attached and detached", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const path = `/servers/${id}/os-volume_attachments`;
    const volumeId = await world.base.makeVolume();
    const body = { volumeAttachment: { volumeId, tag: "data", delete_on_termination: true } };
    const { volumeAttachment } = await world.expect(200, "POST", path, { minor: 100, body });
    assert.deepEqual([volumeAttachment.volumeId, volumeAttachment.device, volumeAttachment.tag], [volumeId, "/dev/vdb", "data"]);
    await world.base.settle();
    const { volume } = await world.base.expect(200, "GET", `/volumes/${volumeId}`);
    assert.equal(volume.status, "in-use");
    assert.deepEqual(volume.attachments.map(({ server_id, device }: { server_id: string; device: string }) => [server_id, device]), [[id, "/dev/vdb"]]);
    const { volumeAttachments } = await world.expect(200, "GET", path);
    const [{ attachment_id, bdm_uuid, ...rest }] = volumeAttachments;
    assert.equal(attachment_id, bdm_uuid);
    assert.deepEqual(rest, { serverId: id, volumeId, device: "/dev/vdb", tag: "data", delete_on_termination: true });
    const old = (await world.expect(200, "GET", `${path}/${volumeId}`, { minor: 69 })).volumeAttachment;
    assert.deepEqual(old, { id: volumeId, serverId: id, volumeId, device: "/dev/vdb" });
    assert.deepEqual((await world.expect(200, "GET", `/servers/${id}`)).server["os-extended-volumes:volumes_attached"], [{ id: volumeId, delete_on_termination: true }]);
    assert.deepEqual((await world.expect(200, "GET", `${path}?limit=0`)).volumeAttachments, []);

    await world.expect(202, "PUT", `${path}/${volumeId}`, { body: { volumeAttachment: { volumeId, delete_on_termination: false } } });
    assert.equal((await world.expect(200, "GET", `${path}/${volumeId}`)).volumeAttachment.delete_on_termination, false);
    await world.refusal(400, "PUT", `${path}/${volumeId}`, { body: { volumeAttachment: { volumeId, device: "/dev/vdz" } } });

    await world.expect(202, "DELETE", `${path}/${volumeId}`);
    await world.base.settle();
    assert.equal(await world.base.status(volumeId), "available");
    assert.deepEqual((await world.expect(200, "GET", path)).volumeAttachments, []);
    await world.refusal(404, "GET", `${path}/${volumeId}`);
    await world.refusal(404, "DELETE", `${path}/${volumeId}`);
    await world.base.assertAuditClean();
  });

  it("are swapped while the guest runs, by administrators, for one of the same size", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const [old, larger, next] = [await world.base.makeVolume(), await world.base.makeVolume({ size: 2 }), await world.base.makeVolume()];
    const path = `/servers/${id}/os-volume_attachments`;
    await world.expect(202, "POST", path, { body: { volumeAttachment: { volumeId: old } } });
    await world.base.settle();
    const swap = (volumeId: string) => ({ body: { volumeAttachment: { volumeId } } });
    await world.refusal(403, "PUT", `${path}/${old}`, swap(next));
    await world.refusal(400, "PUT", `${path}/${old}`, { as: world.admin, ...swap(larger) });
    await world.expect(202, "PUT", `${path}/${old}`, { as: world.admin, ...swap(next) });
    await world.base.settle();
    assert.deepEqual([await world.base.status(old), await world.base.status(next)], ["available", "in-use"]);
    assert.deepEqual((await world.expect(200, "GET", path)).volumeAttachments.map(({ volumeId }: { volumeId: string }) => volumeId), [next]);
    await world.base.assertAuditClean();
  });

  it("are attached without an answer's body since 2.101, and with less to say before", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const path = `/servers/${id}/os-volume_attachments`;
    const volumeId = await world.base.makeVolume();
    await world.refusal(400, "POST", path, { minor: 48, body: { volumeAttachment: { volumeId, tag: "x" } } });
    await world.refusal(400, "POST", path, { minor: 78, body: { volumeAttachment: { volumeId, delete_on_termination: true } } });
    await world.refusal(400, "POST", path, { body: { volumeAttachment: { volumeId, device: "nonsense" } } });
    await world.refusal(404, "POST", path, { body: { volumeAttachment: { volumeId: "none" } } });
    const answer = await world.ask("POST", path, { body: { volumeAttachment: { volumeId } } });
    assert.deepEqual([answer.statusCode, answer.body], [202, ""]);
    await world.base.settle();
    assert.equal((await world.expect(200, "GET", path)).volumeAttachments.length, 1);
    await world.refusal(400, "POST", path, { body: { volumeAttachment: { volumeId } } });
    await world.expect(204, "DELETE", `/servers/${id}`);
    await world.base.settle();
    assert.equal(await world.base.status(volumeId), "available");
    await world.base.assertAuditClean();
  });

  it("are what servers boot from", async () => {
    await using world = await ComputeWorld.open();
    const imageId = await world.base.makeImage();
    const root = { source_type: "image", destination_type: "volume", uuid: imageId, volume_size: 1, boot_index: 0, delete_on_termination: true };
    const data = { source_type: "blank", destination_type: "volume", volume_size: 2, boot_index: -1, tag: "data" };
    const id = await world.makeServer({ imageRef: undefined, block_device_mapping_v2: [root, data] });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, server.image, server.fault], ["ACTIVE", "", undefined]);
    const { volumeAttachments } = await world.expect(200, "GET", `/servers/${id}/os-volume_attachments`);
    assert.deepEqual(volumeAttachments.map(({ device, delete_on_termination }: { device: string; delete_on_termination: boolean }) => [device, delete_on_termination]), [["/dev/vda", true], ["/dev/vdb", false]]);
    assert.equal((await world.ask("DELETE", `/servers/${id}/os-volume_attachments/${volumeAttachments[0].volumeId}`)).statusCode, 403);
    await world.expect(204, "DELETE", `/servers/${id}`);
    await world.base.assertAuditClean();
    const { volumes } = await world.base.expect(200, "GET", "/volumes");
    assert.deepEqual(volumes.map((volume: { id: string }) => volume.id), [volumeAttachments[1].volumeId]);

    const bootable = await world.base.makeVolume({ imageRef: imageId });
    const old = await world.makeServer({ imageRef: undefined, block_device_mapping: [{ volume_id: bootable, device_name: "vda", delete_on_termination: "0" }] });
    assert.equal((await world.expect(200, "GET", `/servers/${old}`)).server.status, "ACTIVE");
    assert.equal(await world.base.status(bootable), "in-use");
  });
});

describe("volumes of guests that run", () => {
  it("are given snapshots, and uploaded with force, from a view of one instant", async () => {
    await using world = await ComputeWorld.open({ enableForceUpload: true });
    const id = await world.makeServer();
    const volumeId = await world.base.makeVolume();
    await world.expect(202, "POST", `/servers/${id}/os-volume_attachments`, { body: { volumeAttachment: { volumeId } } });
    await world.base.settle();
    const { snapshot } = await world.base.expect(202, "POST", "/snapshots", { body: { snapshot: { volume_id: volumeId, force: true } }, minor: 65 });
    await world.base.settle();
    assert.equal((await world.base.expect(200, "GET", `/snapshots/${snapshot.id}`)).snapshot.status, "available");
    const upload = { "os-volume_upload_image": { image_name: "captured", force: true, disk_format: "qcow2" } };
    const { "os-volume_upload_image": begun } = await world.base.expect(202, "POST", `/volumes/${volumeId}/action`, { body: upload });
    await world.base.settle();
    const image = await loadImage(world.base.context.db, begun.image_id);
    assert.deepEqual([image?.status, image?.properties["mica_capture_method"], image?.properties["mica_consistency"]], ["active", "backup_job", "crash"]);
    assert.equal(await world.base.status(volumeId), "in-use");
    assert.deepEqual((await world.expect(200, "GET", `/servers/${id}`)).server["OS-EXT-STS:task_state"], null);
    await world.base.assertAuditClean();
  });
});

describe("volumes of guests that do not run", () => {
  it("are uploaded with force as they are, in every form, and their guests go on with them", async () => {
    for (const [action, begin] of [["suspend", "resume"], ["os-stop", "os-start"]] as const) {
      await using world = await ComputeWorld.open({ enableForceUpload: true });
      const id = await world.makeServer();
      const volumeId = await world.base.makeVolume();
      await world.expect(202, "POST", `/servers/${id}/os-volume_attachments`, { body: { volumeAttachment: { volumeId } } });
      await world.base.settle();
      await world.expect(202, "POST", `/servers/${id}/action`, { body: { [action]: null } });
      await world.base.settle();
      for (const disk_format of ["raw", "qcow2"]) {
        const upload = { "os-volume_upload_image": { image_name: "copy", force: true, disk_format } };
        const { "os-volume_upload_image": begun } = await world.base.expect(202, "POST", `/volumes/${volumeId}/action`, { body: upload });
        await world.base.settle();
        assert.deepEqual([(await loadImage(world.base.context.db, begun.image_id))?.status, await world.base.status(volumeId)], ["active", "in-use"], `${action}, ${disk_format}`);
      }
      await world.expect(202, "POST", `/servers/${id}/action`, { body: { [begin]: null } });
      await world.base.settle();
      assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server.status, "ACTIVE");
      await world.base.assertAuditClean();
    }
  });
});

/** Servers whose disks are in a real Ceph: QEMU reaches them over librbd, and no byte passes through Mica. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { sharedCeph } from "./support/ceph.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { inGuest } from "./support/guest-shell.ts";

await using stack = new AsyncDisposableStack();
const ceph = stack.use(await sharedCeph());
const pools = [
  { name: "volumes", driver: "rbd", roles: ["volumes", "servers", "cache"], rbd: { confPath: ceph.confPath, pool: "volumes" }, overSubscriptionRatioMax: 1000 },
  { name: "images", driver: "rbd", roles: ["images"], rbd: { confPath: ceph.confPath, pool: "images" } },
];
const cloud = stack.use(await CloudWithGuests.start({ MICA_POOLS: JSON.stringify(pools), MICA_SERVERS_IMAGES_TYPE: "rbd" }));
const kept = stack.move();
after(() => kept.disposeAsync());
const { mica, hypervisor } = cloud;

const planOf = async (subject: string, saga: string) => {
  const { operations } = await mica.json("GET", `/mica/v1/operations?subject=${subject}`);
  const { id } = operations.find(({ kind }: { kind: string }) => kind === saga);
  return (await mica.json("GET", `/mica/v1/operations/${id}`)).operation;
};

describe("on Ceph, a server", () => {
  it("is a clone of its image across pools, takes no image bytes, boots, and takes and gives back a volume of Ceph", async () => {
    const imageId = await cloud.addImage();
    const id = await cloud.createServer({ imageRef: imageId });
    await cloud.untilServer(id, "ACTIVE");
    const { plan, actual } = await planOf(id, "create-server");
    assert.equal(plan.strategy, "clone", JSON.stringify(plan.passedOver));
    assert.equal(actual.bytesWritten, 0);
    await cloud.untilBooted(id);
    const volumeId = await cloud.createVolume({ size: 1 });
    await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    const disk = "disk=; for i in $(seq 100); do [ -b /dev/vdb ] && disk=vdb && break; sleep 0.1; done";
    await inGuest(hypervisor, id, `${disk}; echo over librbd | dd of=/dev/$disk conv=fsync`);
    await cloud.compute("DELETE", `/servers/${id}/os-volume_attachments/${volumeId}`);
    await cloud.untilVolume(volumeId, "available");
    await cloud.assertAuditClean();
    await cloud.deleteServer(id);
    await cloud.assertAuditClean();
  });

  it("boots from a volume that is made in the same call, a clone too", async () => {
    const imageId = await cloud.addImage();
    const root = { boot_index: 0, uuid: imageId, source_type: "image", destination_type: "volume", volume_size: 1, delete_on_termination: true };
    const id = await cloud.createServer({ imageRef: "", block_device_mapping_v2: [root] });
    const server = await cloud.untilServer(id, "ACTIVE");
    const [{ id: volumeId }] = server["os-extended-volumes:volumes_attached"];
    assert.equal((await planOf(volumeId, "create-volume")).plan.strategy, "clone");
    await cloud.untilBooted(id);
    await cloud.deleteServer(id);
    await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${volumeId}`)).status, (status) => status === 404);
    await cloud.assertAuditClean();
  });

  it("becomes an image by a direct snapshot, and is shelved: no bytes are moved, and the image outlives the server and its snapshot", async () => {
    const id = await cloud.createServer({ imageRef: await cloud.addImage() });
    await cloud.untilServer(id, "ACTIVE");
    await cloud.untilBooted(id);
    await inGuest(hypervisor, id, "echo before >/data/mine; sync");
    const { image_id: imageId } = await cloud.compute("POST", `/servers/${id}/action`, { createImage: { name: "captured" } });
    await cloud.untilServer(id, "ACTIVE");
    const image = await mica.json("GET", `/image/v2/images/${imageId}`);
    assert.deepEqual([image.status, image.disk_format, image.mica_capture_method, image.mica_consistency], ["active", "raw", "pool_snapshot", "filesystem"]);
    const { plan, actual } = await planOf(id, "capture-server");
    assert.deepEqual([plan.strategy, actual.bytesWritten, plan.target.pool], ["clone", 0, "images"]);
    await cloud.deleteServer(id);
    await cloud.assertAuditClean();
    const copy = await cloud.createServer({ imageRef: imageId });
    await cloud.untilServer(copy, "ACTIVE");
    await cloud.untilBooted(copy);
    assert.equal(await inGuest(hypervisor, copy, "cat /data/mine"), "before");
    await cloud.act(copy, { shelve: null }, "SHELVED_OFFLOADED");
    await cloud.act(copy, { unshelve: null }, "ACTIVE");
    for (const saga of ["shelve-server", "unshelve-server"]) {
      const moved = await planOf(copy, saga);
      assert.deepEqual([moved.plan.strategy, moved.actual.bytesWritten], ["clone", 0], saga);
    }
    await cloud.untilBooted(copy);
    assert.equal(await inGuest(hypervisor, copy, "cat /data/mine"), "before");
    await cloud.deleteServer(copy);
    await mica.json("DELETE", `/image/v2/images/${imageId}`, { status: 204 });
    await cloud.assertAuditClean();
  });
});

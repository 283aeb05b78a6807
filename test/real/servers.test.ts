/** Servers as their users have them: real guests under a real libvirt, asked for over HTTP. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { GiB } from "#/lib/units.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { guestImage } from "./support/guest.ts";
import { inGuest } from "./support/guest-shell.ts";

const cloud = await CloudWithGuests.start();
after(() => cloud[Symbol.asyncDispose]());
const { mica, hypervisor } = cloud;
const imageId = await cloud.addImage();

const attachments = async (id: string): Promise<{ volumeId: string }[]> => (await cloud.compute("GET", `/servers/${id}/os-volume_attachments`)).volumeAttachments;

/** The disk with that serial number, as the guest calls it, once it has seen it. */
const findDisk = (serial: string) =>
  `disk=; for i in $(seq 100); do for d in /sys/block/vd*; do [ "$(cat $d/serial)" = ${serial.slice(0, 20)} ] && disk=\${d##*/}; done; [ -n "$disk" ] && break; sleep 0.1; done`;

describe("a server of an image", () => {
  let id = "";

  it("boots, has its name and key from the config drive, and an agent that answers", async () => {
    await cloud.compute("POST", "/os-keypairs", { keypair: { name: "mine", type: "ssh", public_key: `ssh-ed25519 ${ED25519} me` } });
    id = await cloud.createServer({ name: "First guest", imageRef: imageId, key_name: "mine", user_data: Buffer.from("#cloud-config\n").toString("base64") });
    const server = await cloud.untilServer(id, "ACTIVE");
    assert.deepEqual([server["OS-EXT-STS:power_state"], server.config_drive, server["OS-EXT-SRV-ATTR:root_device_name"]], [1, "True", "/dev/vda"]);
    await cloud.untilBooted(id);
    const told = `GUEST-CONFIG hostname=first-guest uuid=${id} key=ssh-ed25519 ${ED25519} me`;
    await mica.until(() => cloud.consoleOf(id), (console) => console.includes(told));
    await cloud.assertAuditClean();
  });

  it("takes a volume while it runs, and gives it back with what was written", async () => {
    const volumeId = await cloud.createVolume({ size: 1 });
    await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    const [attachment] = (await cloud.volume(volumeId)).attachments;
    assert.equal(attachment.server_id, id);
    await inGuest(hypervisor, id, `${findDisk(volumeId)}; echo written by the guest | dd of=/dev/$disk conv=fsync`);
    await cloud.compute("DELETE", `/servers/${id}/os-volume_attachments/${volumeId}`);
    await cloud.untilVolume(volumeId, "available");
    await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    assert.equal(await inGuest(hypervisor, id, `${findDisk(volumeId)}; head -c 20 /dev/$disk`), "written by the guest");
    await cloud.assertAuditClean();
  });

  it("sees its volume grow, and writes on while it is moved to another one", async () => {
    const volumeId = (await attachments(id))[0]?.volumeId ?? "";
    await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: { "os-extend": { new_size: 2 } }, headers: { "openstack-api-version": "volume 3.42" } });
    await mica.until(() => cloud.volume(volumeId), ({ status, size }) => status === "in-use" && size === 2);
    const sectors = () => inGuest(hypervisor, id, `${findDisk(volumeId)}; cat /sys/block/$disk/size`);
    await mica.until(sectors, (count) => Number(count) === (2 * GiB) / 512);
    const next = await cloud.createVolume({ size: 2 });
    await cloud.compute("PUT", `/servers/${id}/os-volume_attachments/${volumeId}`, { volumeAttachment: { volumeId: next } }, 202);
    await cloud.untilVolume(next, "in-use");
    await cloud.untilVolume(volumeId, "available");
    const read = "cat /sys/block/vdb/size; echo 3 >/proc/sys/vm/drop_caches; head -c 20 /dev/vdb";
    assert.deepEqual((await inGuest(hypervisor, id, read)).split("\n"), [String((2 * GiB) / 512), "written by the guest"]);
    await mica.json("DELETE", `/volume/v3/volumes/${volumeId}`, { status: 202 });
    await cloud.assertAuditClean();
  });

  it("keeps its files over a reboot, a stop and a start, and a suspend", async () => {
    await inGuest(hypervisor, id, "echo kept >/data/mine; sync");
    await cloud.act(id, { reboot: { type: "SOFT" } }, "ACTIVE");
    await cloud.untilBooted(id, 2);
    assert.equal(await inGuest(hypervisor, id, "cat /data/mine"), "kept");
    const bootId = await inGuest(hypervisor, id, "cat /proc/sys/kernel/random/boot_id");
    await cloud.act(id, { suspend: null }, "SUSPENDED");
    await cloud.act(id, { resume: null }, "ACTIVE");
    assert.equal(await inGuest(hypervisor, id, "cat /proc/sys/kernel/random/boot_id"), bootId);
    await cloud.act(id, { "os-stop": null }, "SHUTOFF");
    await cloud.act(id, { "os-start": null }, "ACTIVE");
    await cloud.untilBooted(id, 3);
    assert.equal(await inGuest(hypervisor, id, "cat /data/mine"), "kept");
  });

  it("runs on while Mica is killed and libvirtd dies, and is found again", async () => {
    const bootId = await inGuest(hypervisor, id, "cat /proc/sys/kernel/random/boot_id");
    await mica.kill();
    await cloud.libvirt.kill();
    await cloud.libvirt.restart();
    await mica.start();
    await cloud.act(id, { pause: null }, "PAUSED");
    await cloud.act(id, { unpause: null }, "ACTIVE");
    assert.equal(await inGuest(hypervisor, id, "cat /proc/sys/kernel/random/boot_id"), bootId);
    await cloud.assertAuditClean();
  });

  it("is rescued, resized and shelved, and has its files each time", async () => {
    await cloud.compute("POST", `/servers/${id}/action`, { rescue: { rescue_image_ref: imageId } });
    await cloud.untilServer(id, "RESCUE");
    await cloud.untilBooted(id, 4);
    // Which of two file systems with one label is the root is the guest's choice: what counts is the disk that the firmware took.
    assert.ok((await hypervisor.stat(id))?.disks.some(({ target }) => target === "vdc"));
    await cloud.act(id, { unrescue: null }, "ACTIVE");
    const { flavor } = await cloud.compute("POST", "/flavors", { flavor: { name: "larger", ram: 320, vcpus: 1, disk: 2 } });
    await cloud.act(id, { resize: { flavorRef: flavor.id } }, "VERIFY_RESIZE");
    await cloud.compute("POST", `/servers/${id}/action`, { confirmResize: null }, 204);
    await cloud.act(id, { shelve: null }, "SHELVED_OFFLOADED");
    assert.equal(await hypervisor.stat(id), undefined);
    const shelved = async () => (await mica.json("GET", "/image/v2/images?name=First%20guest-shelved")).images;
    assert.deepEqual((await shelved()).map(({ status, instance_uuid }: Record<string, string>) => [status, instance_uuid]), [["active", id]]);
    await cloud.act(id, { unshelve: null }, "ACTIVE");
    await mica.until(shelved, (images) => images.length === 0);
    await mica.until(() => inGuest(hypervisor, id, "cat /data/mine; cat /sys/block/vda/size").catch(String), (text) => text === `kept\n${(2 * GiB) / 512}`);
    await cloud.assertAuditClean();
  });

  it("is rebuilt: its files are gone, its volume is there", async () => {
    const bootId = await inGuest(hypervisor, id, "cat /proc/sys/kernel/random/boot_id");
    await cloud.act(id, { rebuild: { imageRef: imageId } }, "ACTIVE");
    await mica.until(() => inGuest(hypervisor, id, "cat /proc/sys/kernel/random/boot_id").catch(() => bootId), (now) => now !== bootId);
    assert.equal(await inGuest(hypervisor, id, "cat /data/mine 2>/dev/null || echo gone"), "gone");
    assert.equal((await cloud.compute("GET", `/servers/${id}/os-volume_attachments`)).volumeAttachments.length, 1);
    await cloud.assertAuditClean();
  });

  it("goes without a trace, and its volume stays", async () => {
    const [{ volumeId }] = (await cloud.compute("GET", `/servers/${id}/os-volume_attachments`)).volumeAttachments;
    await cloud.deleteServer(id);
    await cloud.untilVolume(volumeId, "available");
    assert.deepEqual(await hypervisor.list(), []);
    await cloud.assertAuditClean();
  });
});

describe("a server of a root file system", () => {
  it("boots the kernel and ramdisk that its image names", async () => {
    const guest = await guestImage();
    const [kernel, ramdisk] = [await cloud.addImage(guest.kernel), await cloud.addImage(guest.ramdisk)];
    const root = await cloud.addImage(guest.root, "raw", { kernel_id: kernel, ramdisk_id: ramdisk, os_command_line: `${guest.commandLine} root=/dev/vda` });
    const id = await cloud.createServer({ imageRef: root });
    await cloud.untilServer(id, "ACTIVE");
    await cloud.untilBooted(id);
    await cloud.deleteServer(id);
    await cloud.assertAuditClean();
  });
});

describe("a server of a volume", () => {
  it("is made of an image in one call, boots, and takes its volume along", async () => {
    const root = { boot_index: 0, uuid: imageId, source_type: "image", destination_type: "volume", volume_size: 1, delete_on_termination: true };
    const id = await cloud.createServer({ imageRef: "", block_device_mapping_v2: [root] });
    const server = await cloud.untilServer(id, "ACTIVE");
    assert.equal(server.image, "");
    const [{ id: volumeId }] = server["os-extended-volumes:volumes_attached"];
    assert.equal((await cloud.volume(volumeId)).bootable, "true");
    await cloud.untilBooted(id);
    await cloud.deleteServer(id);
    const look = async () => (await mica.ask("GET", `/volume/v3/volumes/${volumeId}`)).status;
    await mica.until(look, (status) => status === 404);
    await cloud.assertAuditClean();
  });
});

const ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIJ0a8Zc0m0w8qJk0F3kqk1n8m2bq9m2m0o5b3oZQn9aX";

import assert from "node:assert/strict";
import { it } from "node:test";
import { GiB, MiB } from "#/lib/units.ts";
import { mappingOf, minDiskGibOf, quiesceWishes, snapshotProperties, whyBeyondQuiesce } from "./server-capture.ts";

const server = { id: "s", projectId: "p", userId: "u", imageId: "base", properties: {}, rootSizeBytes: 3 * GiB + 1, architecture: "x86_64" };

it("an image of a server inherits what is true of the disk, and nothing that was said of the image itself", () => {
  const properties = {
    kernel_id: "k",
    ramdisk_id: "r",
    architecture: "aarch64",
    os_distro: "debian",
    cache_in_nova: "1",
    img_signature: "x",
    cinder_encryption_key_id: "x",
    os_hash_value: "x",
    mica_consistency: "crash",
    bdm_v2: "True",
    block_device_mapping: "[]",
    base_image_ref: "older",
    image_type: "backup",
    backup_type: "daily",
    instance_uuid: "other",
  };
  assert.deepEqual(snapshotProperties({ ...server, properties }, ["cache_in_nova"]), {
    kernel_id: "k",
    ramdisk_id: "r",
    architecture: "aarch64",
    os_distro: "debian",
    base_image_ref: "base",
    image_type: "snapshot",
    image_location: "snapshot",
    image_state: "available",
    instance_uuid: "s",
    owner_id: "p",
    user_id: "u",
  });
});

it("of a server without an image there is none to name", () => {
  assert.equal("base_image_ref" in snapshotProperties({ ...server, imageId: null }, []), false);
});

it("what an image stands for has its size in GiB, and swap of the server's own in MiB", () => {
  const device = { target: "vda", boot_index: null, size_bytes: 2 * GiB, bus: "virtio", kind: "disk", guest_format: null, tag: null, delete_on_termination: 1 };
  const swap = { ...device, guest_format: "swap", size_bytes: 512 * MiB };
  const sizes = JSON.parse(mappingOf([{ ...device, snapshotId: "s" }, device, swap, { ...swap, snapshotId: "s", size_bytes: GiB }]));
  assert.deepEqual(sizes.map(({ volume_size }: { volume_size: number }) => volume_size), [2, 2, 512, 1]);
});

it("what an image stands for is booted in its order, also where a volume of that was detached", () => {
  const device = { target: "vda", size_bytes: GiB, bus: "virtio", kind: "disk", guest_format: null, tag: null, delete_on_termination: 1, snapshotId: "s" };
  const orderOf = (...indexes: (number | null)[]) => JSON.parse(mappingOf(indexes.map((boot_index) => ({ ...device, boot_index })))).map((mapping: { boot_index: number | null }) => mapping.boot_index);
  assert.deepEqual([orderOf(0, null, 3, 2), orderOf(null, 2)], [[0, null, 2, 1], [null, 1]]);
});

it("its smallest disk holds the server's, and is no smaller than its image's", () => {
  assert.equal(minDiskGibOf(server, undefined), 4);
  assert.equal(minDiskGibOf(server, { minDiskGib: 10 }), 10);
});

it("a guest that stands still with files open is beyond freezing", () => {
  assert.deepEqual((["running", "off"] as const).map(whyBeyondQuiesce), [undefined, undefined]);
  assert.match(whyBeyondQuiesce("paused") ?? "", /the guest is paused: /);
  assert.match(whyBeyondQuiesce("suspended") ?? "", /the guest is suspended: /);
});

it("properties say what is to be frozen, as oslo.utils reads flags", () => {
  assert.deepEqual(quiesceWishes({ hw_qemu_guest_agent: "True", os_require_quiesce: "no" }), { hasAgent: true, requiresQuiesce: false });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type BlockDeviceRequest, checkBlockDevices, sizeGibOf } from "./block-device.ts";
import { mappedDevices } from "./server-image.ts";

const LIMITS = { localMax: 3, ephemeralGib: 2, swapMib: 512 };
const NO_BLANKS = { localMax: 3, ephemeralGib: 0, swapMib: 0 };
const ROOT: BlockDeviceRequest = { source: "image", destination: "local", sourceId: "i", bootIndex: 0, deleteOnTermination: true, kind: "disk" };
const BLANK: BlockDeviceRequest = { source: "blank", destination: "local", deleteOnTermination: true, kind: "disk" };

/** The complaint about these devices beside the root disk; "" where there is none. */
function complaint(devices: readonly Partial<BlockDeviceRequest>[], limits = LIMITS): string {
  try {
    checkBlockDevices([ROOT, ...devices.map((device) => ({ ...BLANK, ...device }))], "i", limits);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

describe("block devices", () => {
  it("have swap in MiB, all else in GiB, and no size where a local one is of 0", () => {
    const swap = { destination: "local", guestFormat: "swap" } as const;
    assert.equal(sizeGibOf(512, swap), 0.5);
    assert.equal(sizeGibOf(0, swap), undefined);
    assert.equal(sizeGibOf(2, { destination: "local" }), 2);
    assert.equal(sizeGibOf(0, { destination: "volume" }), 0);
  });

  it("have swap up to the flavor's, and none where it has none", () => {
    assert.equal(complaint([{ guestFormat: "swap", sizeGib: 0.5 }]), "");
    assert.equal(complaint([{ guestFormat: "swap" }]), "");
    assert.match(complaint([{ guestFormat: "swap", sizeGib: 513 / 1024 }]), /Swap drive requested is larger/);
    assert.match(complaint([{ guestFormat: "swap" }], NO_BLANKS), /Swap drive requested is larger/);
  });

  it("have ephemeral disks up to the flavor's, and none where it has none", () => {
    assert.equal(complaint([{}]), "");
    assert.equal(complaint([{ sizeGib: 1 }, { sizeGib: 1 }]), "");
    assert.match(complaint([{ sizeGib: 1 }, { sizeGib: 2 }]), /Ephemeral disks requested are larger/);
    assert.match(complaint([{}], NO_BLANKS), /Ephemeral disks requested are larger/);
  });

  it("are blank without a source, and have a name of their own", () => {
    assert.match(complaint([{ sourceId: "v" }]), /Invalid device UUID/);
    assert.match(complaint([{ sizeGib: 1, deviceName: "vdb" }, { sizeGib: 1, deviceName: "/dev/vdb" }]), /Duplicate device names/);
  });
});

const properties = (mappings: unknown) => ({ bdm_v2: "True", block_device_mapping: typeof mappings === "string" ? mappings : JSON.stringify(mappings) });

describe("the mappings of an image", () => {
  it("are read as Nova writes them", () => {
    const mapping = { source_type: "snapshot", destination_type: "volume", snapshot_id: "s", volume_id: null, image_id: null, volume_size: 1, boot_index: 0, device_name: "/dev/vda" };
    const [device, ...others] = mappedDevices(properties([{ ...mapping, delete_on_termination: true, disk_bus: "virtio", device_type: "disk", tag: null, no_device: null }, { no_device: true }]));
    assert.deepEqual([device?.source, device?.sourceId, device?.sizeGib, device?.bootIndex, device?.bus, device?.deleteOnTermination], ["snapshot", "s", 1, 0, "virtio", true]);
    assert.deepEqual(others, []);
  });

  it("are refused in words where they are none, as anybody can write them", () => {
    const snapshot = { source_type: "snapshot", destination_type: "volume", snapshot_id: "s" };
    const unfit = ["{", "5", "null", "{}", "[1]", "[[]]", [{}], [{ ...snapshot, source_type: "tape" }], [{ ...snapshot, snapshot_id: 5 }], [{ ...snapshot, volume_size: "x" }]];
    for (const mappings of [...unfit, [{ ...snapshot, boot_index: 0.5 }], [{ ...snapshot, disk_bus: "xen" }], [{ ...snapshot, device_type: {} }]]) {
      assert.throws(() => mappedDevices(properties(mappings)), /Block Device Mapping is Invalid: the image's block_device_mapping/, JSON.stringify(mappings));
    }
  });
});

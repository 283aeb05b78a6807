import { storageDriverContract } from "#/storage/contract.ts";
import { LvmDriver } from "#/storage/lvm/driver.ts";
import { makePhysicalVolume, sh } from "../support/volume-group.ts";

const device = await makePhysicalVolume("3G");
await sh("vgcreate", "-q", "-s", "1M", "vg-1", device);

async function empty(type: "thin" | "thick"): Promise<LvmDriver> {
  await sh("lvremove", "-qq", "-y", "-S", "lv_tags=mica", "vg-1");
  return LvmDriver.open(config(type), { isNew: true });
}

function config(type: "thin" | "thick") {
  return { volumeGroup: "vg-1", type, thinDataPercentMax: 95, thinMetadataPercentMax: 90, volumeClear: "zero", volumeClearSizeBytes: 0 } as const;
}

for (const type of (process.env["LVM_TYPES"] ?? "thick,thin").split(",") as ("thin"|"thick")[]) storageDriverContract(`LvmDriver, ${type}`, () => empty(type));

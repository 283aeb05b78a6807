/** A guest whose disks are thin volumes of LVM. Runs inside the guest of `kernel-vm.sh`: `lvm.test.ts` starts it. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { guestOnPool } from "../support/guest-on-pool.ts";
import { FOLDER, makeVolumeGroup } from "../support/volume-group.ts";

guestOnPool("a thin pool of LVM", async () => {
  await makeVolumeGroup("vg-guest", "3G");
  const folder = await mkdtemp(join(FOLDER, "mica-"));
  const pools = [
    { name: "images", driver: "file", path: join(folder, "images"), roles: ["images"] },
    { name: "disks", driver: "lvm", lvm: { volumeGroup: "vg-guest" }, roles: ["volumes", "servers", "cache"] },
  ];
  return { env: { MICA_POOLS: JSON.stringify(pools) }, dataDir: join(folder, "data"), captureMethod: "pool_snapshot", strategy: "stream_convert", opens: /^\/dev\/mapper\/vg--guest-mica--/ };
});

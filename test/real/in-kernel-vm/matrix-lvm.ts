/** The matrix of strategies on LVM. Runs inside the guest of `kernel-vm.sh`: `matrix-in-kernel.test.ts` starts it. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { MiB } from "#/lib/units.ts";
import { matrixRun } from "../../support/matrix-run.ts";
import { startWebServer } from "../../support/web-server.ts";
import { withPools } from "../support/mica-in-guest.ts";
import { FOLDER, makeVolumeGroup } from "../support/volume-group.ts";

await makeVolumeGroup("thin", "8G");
await makeVolumeGroup("thick", "8G");
const web = await startWebServer();
after(() => web[Symbol.asyncDispose]());
await mkdir(join(FOLDER, "files"));

const POOLS = [
  { name: "files", path: join(FOLDER, "files"), roles: ["images"] },
  { name: "lvm-thin", driver: "lvm", lvm: { volumeGroup: "thin", type: "thin" } },
  { name: "lvm-thick", driver: "lvm", lvm: { volumeGroup: "thick", type: "thick", volumeClear: "none" } },
  { name: "web", driver: "http", http: { allowedHosts: [new URL(web.url).host] }, roles: ["images"] },
];

matrixRun("LVM", {
  web,
  start: async () => ({ ...withPools(POOLS), async [Symbol.asyncDispose]() {} }),
  size: { diskBytes: 8 * MiB, dataBytes: 3 * MiB },
  targets: [
    { kind: "lvm thin", pool: "lvm-thin", from: { "the same pool": ["lvm-thin"], "a pool elsewhere": ["files"], "an object store or a web server": ["web"] } },
    { kind: "lvm thick", pool: "lvm-thick", from: { "the same pool": ["lvm-thick"], "a pool elsewhere": ["files"], "an object store or a web server": ["web"] } },
  ],
});

/** The matrix of strategies on LVM. Runs inside the guest of `kernel-vm.sh`: `matrix-in-kernel.test.ts` starts it. */
import { mkdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { matrixRun } from "../../support/matrix-run.ts";
import { startWebServer } from "../../support/web-server.ts";
import { FOLDER, LVM_CONF, makeVolumeGroup } from "../support/volume-group.ts";

await makeVolumeGroup("thin", "8G");
await makeVolumeGroup("thick", "20G");
const web = await startWebServer();
await mkdir(join(FOLDER, "files"));

const POOLS = [
  { name: "files", path: join(FOLDER, "files"), roles: ["images"] },
  { name: "lvm-thin", driver: "lvm", lvm: { volumeGroup: "thin", type: "thin", confPath: LVM_CONF } },
  { name: "lvm-thick", driver: "lvm", lvm: { volumeGroup: "thick", type: "thick", volumeClear: "none", confPath: LVM_CONF } },
  { name: "web", driver: "http", http: { allowedHosts: [new URL(web.url).host] }, roles: ["images"] },
];

matrixRun("LVM", {
  start: async () => ({ env: { MICA_POOLS: JSON.stringify(POOLS) }, startLimitMs: 3 * MINUTE_MS, async [Symbol.asyncDispose]() {} }),
  targets: [
    { kind: "lvm thin", pool: "lvm-thin", from: { "the same pool": ["lvm-thin"], "a pool elsewhere": ["files"], "an object store or a web server": ["web"] } },
    { kind: "lvm thick", pool: "lvm-thick", from: { "the same pool": ["lvm-thick"], "a pool elsewhere": ["files"] } },
  ],
  async urlOf(pool, file) {
    if (pool !== "web") return undefined;
    const path = `/${basename(file)}`;
    web.files.set(path, { bytes: await readFile(file) });
    return web.url + path;
  },
});

/** The matrix of strategies on NFS and LVM. Runs inside the guest of `kernel-vm.sh`: `matrix-in-kernel.test.ts` starts it. */
import { mkdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { matrixRun } from "../../support/matrix-run.ts";
import { startWebServer } from "../../support/web-server.ts";
import { NfsServer } from "../support/nfs-server.ts";
import { FOLDER, LVM_CONF, makeVolumeGroup } from "../support/volume-group.ts";

const disks = (process.env["KERNEL_VM_DISKS"] ?? "").split(" ");
process.env["KERNEL_VM_DISKS"] = disks.slice(2).join(" ");
await makeVolumeGroup("thin", "8G");
await makeVolumeGroup("thick", "20G");
process.env["KERNEL_VM_DISKS"] = disks.slice(0, 2).join(" ");
const server = await NfsServer.start(["xfs", "ext4"]);
const [xfs, ext4] = [await server.mount("xfs"), await server.mount("ext4")];
const web = await startWebServer();
await mkdir(join(FOLDER, "files"));

const POOLS = [
  { name: "files", path: join(FOLDER, "files"), roles: ["images"] },
  { name: "nfs-xfs", driver: "nfs", path: join(xfs, "pool") },
  { name: "nfs-xfs-images", driver: "nfs", path: join(xfs, "images"), roles: ["images"] },
  { name: "nfs-ext4", driver: "nfs", path: join(ext4, "pool") },
  { name: "lvm-thin", driver: "lvm", lvm: { volumeGroup: "thin", type: "thin", confPath: LVM_CONF } },
  { name: "lvm-thick", driver: "lvm", lvm: { volumeGroup: "thick", type: "thick", volumeClear: "none", confPath: LVM_CONF } },
  { name: "web", driver: "http", http: { allowedHosts: [new URL(web.url).host] }, roles: ["images"] },
];
const objects = ["web"];

matrixRun("NFS and LVM", {
  start: async () => ({ env: { MICA_POOLS: JSON.stringify(POOLS) }, startLimitMs: 3 * MINUTE_MS, async [Symbol.asyncDispose]() {} }),
  targets: [
    {
      kind: "nfs, the server clones",
      pool: "nfs-xfs",
      from: { "the same pool": ["nfs-xfs"], "another pool of the same place": ["nfs-xfs-images"], "a pool elsewhere": ["files"] },
    },
    { kind: "nfs, the server does not clone", pool: "nfs-ext4", from: { "the same pool": ["nfs-ext4"], "a pool elsewhere": ["files"] } },
    { kind: "lvm thin", pool: "lvm-thin", from: { "the same pool": ["lvm-thin"], "a pool elsewhere": ["files"], "an object store or a web server": objects } },
    { kind: "lvm thick", pool: "lvm-thick", from: { "the same pool": ["lvm-thick"], "a pool elsewhere": ["files"] } },
  ],
  async urlOf(pool, file) {
    if (pool !== "web") return undefined;
    const path = `/${basename(file)}`;
    web.files.set(path, { bytes: await readFile(file) });
    return web.url + path;
  },
});

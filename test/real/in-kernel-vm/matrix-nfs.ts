/** The matrix of strategies on NFS. Runs inside the guest of `kernel-vm.sh`: `matrix-in-kernel.test.ts` starts it. */
import { join } from "node:path";
import { after } from "node:test";
import { MiB } from "#/lib/units.ts";
import { matrixRun } from "../../support/matrix-run.ts";
import { startWebServer } from "../../support/web-server.ts";
import { withPools } from "../support/mica-in-guest.ts";
import { NfsServer } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs", "ext4"]);
const [xfs, ext4] = [await server.mount("xfs"), await server.mount("ext4")];
const web = await startWebServer();
after(() => web[Symbol.asyncDispose]());

const POOLS = [
  { name: "files", path: join(server.folder("ext4"), "files"), roles: ["images"] },
  { name: "nfs-xfs", driver: "nfs", path: join(xfs, "pool") },
  { name: "nfs-xfs-images", driver: "nfs", path: join(xfs, "images"), roles: ["images"] },
  { name: "nfs-ext4", driver: "nfs", path: join(ext4, "pool") },
  { name: "web", driver: "http", http: { allowedHosts: [new URL(web.url).host] }, roles: ["images"] },
];

matrixRun("NFS", {
  web,
  start: async () => ({ ...withPools(POOLS), async [Symbol.asyncDispose]() {} }),
  size: { diskBytes: 8 * MiB, dataBytes: 3 * MiB },
  targets: [
    {
      kind: "nfs, the server clones",
      pool: "nfs-xfs",
      from: {
        "the same pool": ["nfs-xfs"],
        "another pool of the same place": ["nfs-xfs-images"],
        "a pool elsewhere": ["files"],
        "an object store or a web server": ["web"],
      },
    },
    {
      kind: "nfs, the server does not clone",
      pool: "nfs-ext4",
      from: { "the same pool": ["nfs-ext4"], "a pool elsewhere": ["files"], "an object store or a web server": ["web"] },
    },
  ],
});

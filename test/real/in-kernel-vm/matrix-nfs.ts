/** The matrix of strategies on NFS. Runs inside the guest of `kernel-vm.sh`: `matrix-in-kernel.test.ts` starts it. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { matrixRun } from "../../support/matrix-run.ts";
import { NfsServer } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs", "ext4"]);
const [xfs, ext4] = [await server.mount("xfs"), await server.mount("ext4")];

const POOLS = [
  { name: "files", path: join(tmpdir(), "files"), roles: ["images"] },
  { name: "nfs-xfs", driver: "nfs", path: join(xfs, "pool") },
  { name: "nfs-xfs-images", driver: "nfs", path: join(xfs, "images"), roles: ["images"] },
  { name: "nfs-ext4", driver: "nfs", path: join(ext4, "pool") },
];

matrixRun("NFS", {
  start: async () => ({ env: { MICA_POOLS: JSON.stringify(POOLS) }, startLimitMs: 3 * MINUTE_MS, async [Symbol.asyncDispose]() {} }),
  targets: [
    {
      kind: "nfs, the server clones",
      pool: "nfs-xfs",
      from: { "the same pool": ["nfs-xfs"], "another pool of the same place": ["nfs-xfs-images"], "a pool elsewhere": ["files"] },
    },
    { kind: "nfs, the server does not clone", pool: "nfs-ext4", from: { "the same pool": ["nfs-ext4"], "a pool elsewhere": ["files"] } },
  ],
});

/** A guest whose disks are files on an NFS export. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { guestOnPool } from "../support/guest-on-pool.ts";
import { NfsServer } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs"]);
const xfs = await server.mount("xfs");

guestOnPool("an NFS export", async () => {
  const folder = await mkdtemp(join(xfs, "pools-"));
  const pools = [
    { name: "images", driver: "nfs", path: join(folder, "images"), roles: ["images"] },
    { name: "disks", driver: "nfs", path: join(folder, "disks"), roles: ["volumes", "servers", "cache"] },
  ];
  return { env: { MICA_POOLS: JSON.stringify(pools) }, captureMethod: "pool_snapshot", strategy: "clone", opens: new RegExp(`^${folder}/disks/`) };
});

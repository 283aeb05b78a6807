/**
 * The nfs driver, and Mica on it: with real exports under a kernel that has NFS, and the same code in folders of an XFS of this
 * machine, which is fast enough to be killed in the middle of more bytes.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { GiB, MiB } from "#/lib/units.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { NfsDriver } from "#/storage/nfs/driver.ts";
import { mountNew } from "../support/file-systems.ts";
import { killFlows } from "../support/kill-flows.ts";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = (name: string) => join(import.meta.dirname, "in-kernel-vm", name);

await Promise.all([
  describeInKernelVm("the nfs driver on XFS", inner("nfs.ts"), { disks: ["2G"], timeLimitSeconds: 800 }),
  describeInKernelVm("the nfs driver on ext4", inner("nfs-ext4.ts"), { disks: ["2G", "4G"], timeLimitSeconds: 800 }),
  describeInKernelVm("Mica on NFS", inner("nfs-mica.ts"), { disks: ["4G"], timeLimitSeconds: 800 }),
  describeInKernelVm("a guest on NFS", inner("nfs-guest.ts"), { disks: ["4G"], memory: "2G", timeLimitSeconds: 800 }),
]);

await using mounts = new AsyncDisposableStack();
const xfs = mounts.use(await mountNew("xfs", { sizeBytes: 8 * GiB }));
const kept = mounts.move();
after(() => kept.disposeAsync());

storageDriverContract("NfsDriver in a folder of a local XFS", async () => NfsDriver.open(await mkdtemp(join(xfs.path, "pool-")), { allowLocal: true }));

killFlows("two nfs pools in folders of a local XFS", {
  async start() {
    const folder = await mkdtemp(join(xfs.path, "pools-"));
    const nfs = { allowLocal: true };
    const pools = [
      { name: "images", driver: "nfs", path: join(folder, "images"), nfs, roles: ["images"] },
      { name: "volumes", driver: "nfs", path: join(folder, "volumes"), nfs, roles: ["volumes", "cache"] },
    ];
    return { env: { MICA_POOLS: JSON.stringify(pools) }, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
  },
  momentsMs: [100],
  dataBytes: 128 * MiB,
});

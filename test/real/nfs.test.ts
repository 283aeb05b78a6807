/** The nfs driver, and Mica on it, with real exports under a kernel that has NFS. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = (name: string) => join(import.meta.dirname, "in-kernel-vm", name);

// A guest has one processor: three of them take the time of the longest.
await Promise.all([
  describeInKernelVm("the nfs driver on XFS", inner("nfs.ts"), { disks: ["2G"], timeLimitSeconds: 600 }),
  describeInKernelVm("the nfs driver on ext4", inner("nfs-ext4.ts"), { disks: ["2G", "4G"], timeLimitSeconds: 600 }),
  describeInKernelVm("Mica on NFS", inner("nfs-mica.ts"), { disks: ["4G"], timeLimitSeconds: 600 }),
]);

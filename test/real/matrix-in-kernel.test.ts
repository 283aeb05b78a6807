/** The matrix of strategies on NFS and LVM, under a kernel that has both. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = (name: string) => join(import.meta.dirname, "in-kernel-vm", name);

await Promise.all([
  describeInKernelVm("the matrix on NFS", inner("matrix-nfs.ts"), { disks: ["2G", "2G"], timeLimitSeconds: 850 }),
  describeInKernelVm("the matrix on LVM", inner("matrix-lvm.ts"), { disks: ["12G"], timeLimitSeconds: 850 }),
]);

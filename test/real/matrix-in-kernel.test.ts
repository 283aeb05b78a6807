/** The matrix of strategies on NFS and LVM, under a kernel that has both. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = join(import.meta.dirname, "in-kernel-vm/matrix.ts");
await describeInKernelVm("the matrix", inner, { disks: ["4G", "4G", "8G"], timeLimitSeconds: 850 });

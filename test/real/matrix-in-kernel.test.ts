/** The matrix of strategies on NFS, under a kernel that has it. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

await describeInKernelVm("the matrix on NFS", join(import.meta.dirname, "in-kernel-vm/matrix-nfs.ts"), { disks: ["2G", "2G"], timeLimitSeconds: 850 });

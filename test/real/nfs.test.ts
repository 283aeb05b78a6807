/** The nfs driver on real exports, under a kernel that has NFS. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = (name: string) => join(import.meta.dirname, "in-kernel-vm", name);

await describeInKernelVm("the nfs driver", inner("nfs.ts"), { disks: ["2G", "2G"], timeLimitSeconds: 300 });

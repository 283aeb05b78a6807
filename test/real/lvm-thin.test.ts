/** The driver contract on thin volumes, under a kernel that has device-mapper: the longest of LVM's tests, with the machine to itself. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

await describeInKernelVm("the lvm driver on thin volumes", join(import.meta.dirname, "in-kernel-vm/lvm-thin.ts"), { disks: ["4G"], timeLimitSeconds: 850 });

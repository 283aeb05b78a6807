/** The driver contract on thin volumes, under a kernel that has device-mapper: the longest of LVM's tests, with the machine to itself. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = (name: string) => join(import.meta.dirname, "in-kernel-vm", name);

await Promise.all([
  describeInKernelVm("the lvm driver on thin volumes", inner("lvm-thin-content.ts"), { timeLimitSeconds: 850 }),
  describeInKernelVm("the lvm driver on thin volumes", inner("lvm-thin-sharing.ts"), { timeLimitSeconds: 850 }),
]);

/** The lvm driver, and Mica on it, on real volume groups, under a kernel that has device-mapper. */
import { join } from "node:path";
import { describeInKernelVm } from "./support/kernel-vm.ts";

const inner = (name: string) => join(import.meta.dirname, "in-kernel-vm", name);

await Promise.all([
  describeInKernelVm("the lvm driver on thick volumes", inner("lvm-thick.ts"), { timeLimitSeconds: 850 }),
  describeInKernelVm("the lvm driver", inner("lvm-driver.ts"), { timeLimitSeconds: 850 }),
  describeInKernelVm("Mica on LVM", inner("lvm-mica.ts"), { disks: ["4G"], timeLimitSeconds: 850 }),
  describeInKernelVm("a guest on LVM", inner("lvm-guest.ts"), { disks: ["4G"], memory: "2G", timeLimitSeconds: 800 }),
]);

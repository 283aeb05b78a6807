import { describeInKernelVm } from "./support/kernel-vm.ts";

await describeInKernelVm("the lvm driver on a volume group", "test/real/in-kernel-vm/lvm.ts", { disks: ["4G"], timeLimitSeconds: 800 });

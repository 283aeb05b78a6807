/** The contract of storage drivers on thick logical volumes. Runs inside the guest of `kernel-vm.sh`: `lvm.test.ts` starts it. */
import { contractOnLvm } from "../support/volume-group.ts";

await contractOnLvm("thick", "content", "sharing");

/** The contract of storage drivers on thin logical volumes. Runs inside the guest of `kernel-vm.sh`: `lvm-thin.test.ts` starts it. */
import { contractOnLvm } from "../support/volume-group.ts";

await contractOnLvm("thin", "content");

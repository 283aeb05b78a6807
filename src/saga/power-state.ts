import { POWER_STATES, type PowerState, type VmState } from "#/domain/server.ts";
import type { GuestState, HypervisorDriver } from "#/vm/driver.ts";

/** How the guest stands; nothing where nobody can say. */
export async function standingOf(hypervisor: HypervisorDriver, serverId: string): Promise<{ vm_state?: VmState; power_state?: PowerState }> {
  const guest = await hypervisor.stat(serverId).catch(() => undefined);
  return guest ? powerStateOf(guest.state) : {};
}

/** What a guest's state means for its server (nova/compute/manager.py `_sync_instance_power_state`). */
export function powerStateOf(state: GuestState): { vm_state: VmState; power_state: PowerState } {
  switch (state) {
    case "running":
      return { vm_state: "active", power_state: POWER_STATES.running };
    case "paused":
      return { vm_state: "paused", power_state: POWER_STATES.paused };
    case "suspended":
      return { vm_state: "suspended", power_state: POWER_STATES.suspended };
    case "crashed":
      return { vm_state: "stopped", power_state: POWER_STATES.crashed };
    case "shutoff":
      return { vm_state: "stopped", power_state: POWER_STATES.shutDown };
    default:
      return state satisfies never;
  }
}

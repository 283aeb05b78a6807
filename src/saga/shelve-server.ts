import { POWER_STATES, type VmState } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bringBack } from "#/saga/bring-back.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { standingOf } from "#/saga/power-state.ts";
import { settleFailed, settleServer } from "#/saga/server-record.ts";
import { stopGuest } from "#/vm/stop-guest.ts";

export interface ShelveServer {
  readonly serverId: string;
  readonly vmState: VmState;
}

type Context = SagaContext<ShelveServer>;

/**
 * Takes a server off its host: the guest is gone, and its disks stay in their pools as they are. Nova copies an image-backed server's disk into
 * an image and deletes it; where the pool stays reachable that moves every byte twice for nothing.
 */
export const shelveServer: Saga<Context> = {
  name: "shelve-server",
  steps: [
    {
      name: "stop",
      run: stop,
      undo: async (context, because) => settleFailed(context, because, await standingOf(context.hypervisor, context.params.serverId)),
    },
    {
      name: "offload",
      run: ({ hypervisor, params }) => hypervisor.undefine(params.serverId),
      undo: (context) => bringBack(context, { runs: false }),
    },
    {
      name: "publish",
      run: (context) => settleServer(context, { vm_state: "shelved_offloaded", power_state: POWER_STATES.shutDown, previous_vm_state: context.params.vmState }),
    },
  ],
};

async function stop({ hypervisor, limits, params }: Context, { signal }: StepScope): Promise<void> {
  await stopGuest(hypervisor, params.serverId, { ...limits.hypervisor, signal });
  await hypervisor.discardSaved(params.serverId, { signal });
}

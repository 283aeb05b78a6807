import { POWER_STATES } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import { defineGuest } from "#/saga/define-guest.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import { serverOf, settleFailed, settleServer } from "#/saga/server-record.ts";
import type { ShelveServer } from "#/saga/shelve-server.ts";

/** Puts a shelved server on its host again, and starts it. */
export const unshelveServer: Saga<SagaContext<ShelveServer>> = {
  name: "unshelve-server",
  steps: [
    {
      name: "define",
      run: async (context, { signal }) => defineGuest(context, await serverOf(context), signal),
      undo: async (context, because) => {
        await context.hypervisor.destroy(context.params.serverId);
        await context.hypervisor.undefine(context.params.serverId);
        await settleFailed(context, because, { vm_state: context.params.vmState, power_state: POWER_STATES.shutDown });
      },
    },
    {
      name: "start",
      run: ({ hypervisor, params }, { signal }) => hypervisor.start(params.serverId, { signal }),
    },
    {
      name: "publish",
      run: (context) => settleServer(context, { vm_state: "active", power_state: POWER_STATES.running, previous_vm_state: null }),
    },
  ],
};

import { findServer } from "#/db/servers.ts";
import type { VmState } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Step } from "#/saga/engine/saga.ts";
import type { ServerParams } from "#/saga/server-record.ts";

/** The steps, of which none is undone once the server's record is in one of the states: all is done by then, and what was before is going. */
export function noWayBackFrom<P extends ServerParams>(states: readonly VmState[], steps: readonly Step<SagaContext<P>>[]): Step<SagaContext<P>>[] {
  return steps.map((step) => ({
    ...step,
    async undo(context, because) {
      const server = await findServer(context.db, context.params.serverId);
      if (!server || !states.includes(server.vm_state)) await step.undo?.(context, because);
    },
  }));
}

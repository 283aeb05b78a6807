import { findServer } from "#/db/servers.ts";
import type { VmState } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Step } from "#/saga/engine/saga.ts";
import type { ServerParams } from "#/saga/server-record.ts";

/**
 * The steps, of which none is undone once `isDone`: the transaction of the last one has shown its result, and somebody may be using it. What else that step does must be of no harm when it is left.
 */
export function noWayBackOnce<C>(isDone: (context: C) => Promise<boolean>, steps: readonly Step<C>[]): Step<C>[] {
  return steps.map((step) => ({
    ...step,
    async undo(context, because) {
      if (!(await isDone(context))) await step.undo?.(context, because);
    },
  }));
}

/** The steps, of which none is undone once the server's record is in one of the states: all is done by then, and what was before is going. */
export function noWayBackFrom<P extends ServerParams>(states: readonly VmState[], steps: readonly Step<SagaContext<P>>[]): Step<SagaContext<P>>[] {
  return noWayBackOnce<SagaContext<P>>(async ({ db, params }) => {
    const server = await findServer(db, params.serverId);
    return server !== undefined && states.includes(server.vm_state);
  }, steps);
}

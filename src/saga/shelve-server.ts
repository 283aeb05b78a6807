import { POWER_STATES, type VmState } from "#/domain/server.ts";
import { bringBack } from "#/saga/bring-back.ts";
import { type CaptureServer, captureServer } from "#/saga/capture-server.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { noWayBackFrom } from "#/saga/no-way-back.ts";
import { dropRoot, takeOffHost } from "#/saga/offload-server.ts";
import { standingOf } from "#/saga/power-state.ts";
import { settleFailed, settleServer, showTask } from "#/saga/server-record.ts";
import { stopGuest } from "#/vm/stop-guest.ts";

export interface ShelveServer extends CaptureServer {
  /** How the server was. */
  readonly vmState: VmState;
  /** Whether it leaves its host at once. */
  readonly offloads: boolean;
}

type Context = SagaContext<ShelveServer>;

/**
 * Takes a server out of use: its guest ends, and an image is made of its own disk, which it comes back from. One that boots from a volume has no image: its volumes stay.
 * Until all is done everything can be as it was; the memory of a guest that is paused or suspended is thrown away only when the image is there. nova/compute/manager.py `_shelve_instance`.
 */
export const shelveServer: Saga<Context> = {
  name: "shelve-server",
  steps: noWayBackFrom<ShelveServer>(
    ["shelved", "shelved_offloaded"],
    [
      {
        name: "stop",
        run: stop,
        undo: goOn,
      },
      ...captureServer.steps,
      {
        name: "end guest",
        run: endGuest,
        undo: (context) => bringBack(context, { runs: false }),
      },
      {
        name: "settle",
        run: settle,
      },
    ],
  ),
};

/** One that runs shuts down by itself, so that all it has to write is in the image. */
async function stop({ hypervisor, limits, params }: Context, { signal }: StepScope): Promise<void> {
  if (params.vmState === "active") await stopGuest(hypervisor, params.serverId, { ...limits.hypervisor, signal });
}

/** The server goes on as it was. Its image was on record before anything else began. */
async function goOn(context: Context, because: Failure): Promise<void> {
  const { imageId } = context.params;
  if (imageId !== null) await context.db.transaction().execute((trx) => forgetImage(trx, imageId));
  if (context.params.vmState === "active") await bringBack(context, { runs: true });
  await settleFailed(context, because, await standingOf(context.hypervisor, context.params.serverId));
}

async function endGuest(context: Context, { signal }: StepScope): Promise<void> {
  const { hypervisor, params } = context;
  if (params.offloads) {
    await showTask(context, "shelving_offloading");
    return takeOffHost(context, { signal });
  }
  await hypervisor.destroy(params.serverId, { signal });
  await hypervisor.discardSaved(params.serverId, { signal });
}

async function settle(context: Context): Promise<void> {
  const { db, runner, params } = context;
  const drop = await db.transaction().execute(async (trx) => {
    const shelved = { power_state: POWER_STATES.shutDown, shelved_image_id: params.imageId, previous_vm_state: params.vmState };
    await settleServer({ ...context, db: trx }, { ...shelved, vm_state: params.offloads ? "shelved_offloaded" : "shelved" });
    return params.offloads ? dropRoot(context, trx, params.imageId) : undefined;
  });
  if (drop) void runner.run(drop);
}

import { updateDevice } from "#/db/block-devices.ts";
import { diskId } from "#/domain/ids.ts";
import { POWER_STATES, type VmState } from "#/domain/server.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bootGuest, defineGuest } from "#/saga/define-guest.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type NewDiskRecord, sourceDisk } from "#/saga/materialise.ts";
import { noWayBackFrom } from "#/saga/no-way-back.ts";
import { takeOffHost } from "#/saga/offload-server.ts";
import { serverOf, settleFailed, settleServer } from "#/saga/server-record.ts";
import { beginDropShelved } from "#/saga/shelved-image.ts";

export interface UnshelveServer {
  readonly serverId: string;
  /** How it is shelved: on its host, or away from it. */
  readonly vmState: VmState;
  /** How its own disk is made of its image; null where it has all of its disks. */
  readonly root: RootAnew | null;
}

export interface RootAnew {
  readonly deviceId: string;
  readonly newDiskId: string;
  readonly plan: Plan;
}

type Context = SagaContext<UnshelveServer>;

/** Puts a shelved server on its host again, and starts it; its image goes. What fails leaves it shelved as it was, with its image. nova/compute/manager.py `_unshelve_instance`. */
export const unshelveServer: Saga<Context> = {
  name: "unshelve-server",
  steps: noWayBackFrom<UnshelveServer>(
    ["active"],
    [
      {
        name: "record",
        run: async (context) => void (await serverOf(context)),
        undo: (context, because) => settleFailed(context, because, { vm_state: context.params.vmState, power_state: POWER_STATES.shutDown }),
      },
      {
        name: "disk",
        run: makeRoot,
        undo: discardRoot,
      },
      {
        name: "define",
        run: async (context, { signal }) => defineGuest(context, await serverOf(context), signal),
        undo: endGuest,
      },
      {
        name: "start",
        run: async (context, { signal }) => bootGuest(context, await serverOf(context), signal), // A volume may have been frozen since it was defined.
      },
      {
        name: "publish",
        run: publish,
      },
    ],
  ),
};

async function makeRoot(context: Context, scope: StepScope): Promise<void> {
  const { db, params } = context;
  if (!params.root) return;
  const { deviceId, newDiskId, plan } = params.root;
  await makeDisk(context, { plan, target: targetOf(params.serverId, params.root), source: () => sourceDisk(context, plan) }, scope);
  await updateDevice(db, deviceId, { disk_id: newDiskId });
}

async function discardRoot(context: Context): Promise<void> {
  const { db, params } = context;
  if (!params.root) return;
  await updateDevice(db, params.root.deviceId, { disk_id: null });
  await discardTarget(context, targetOf(params.serverId, params.root));
}

function targetOf(serverId: string, { newDiskId, plan }: RootAnew): NewDiskRecord {
  const { pool, virtualSizeBytes, format } = plan.target;
  return { id: diskId(newDiskId), pool, format, virtualSizeBytes, holder: { kind: "server", id: serverId } };
}

async function endGuest(context: Context): Promise<void> {
  const { hypervisor, params } = context;
  if (params.vmState === "shelved_offloaded") return takeOffHost(context);
  await hypervisor.destroy(params.serverId);
}

async function publish(context: Context): Promise<void> {
  const { db, runner } = context;
  const deletion = await db.transaction().execute(async (trx) => {
    const within = { ...context, db: trx };
    const { shelved_image_id, task_state } = await serverOf(within);
    if (task_state !== "unshelving") return undefined; // Said already, before a kill: the server may have been shelved again since, with another image.
    await settleServer(within, { vm_state: "active", power_state: POWER_STATES.running, previous_vm_state: null, shelved_image_id: null });
    return beginDropShelved(context, trx, shelved_image_id);
  });
  if (deletion) void runner.run(deletion);
}

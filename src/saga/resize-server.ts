import { updateDevice } from "#/db/block-devices.ts";
import { getDisk, setDiskSize } from "#/db/disks.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { findServer, updateServer } from "#/db/servers.ts";
import { diskId } from "#/domain/ids.ts";
import { giveBack, serverQuota } from "#/domain/quota.ts";
import { POWER_STATES } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bringBack } from "#/saga/bring-back.ts";
import { bootGuest, defineGuest } from "#/saga/define-guest.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { standingOf } from "#/saga/power-state.ts";
import { serverOf, settleFailed, settleServer, showTask } from "#/saga/server-record.ts";
import { stopGuest } from "#/vm/stop-guest.ts";

export interface ResizeServer {
  readonly serverId: string;
  /** JSON: what the server has now, and will have. The record has the new one already, and its quota. */
  readonly oldFlavor: string;
  readonly newFlavor: string;
  readonly isReverting: boolean;
  /** Whether it ran, and is to run. */
  readonly runs: boolean;
  /** The local root disk, where it is to grow. */
  readonly root: { readonly deviceId: string; readonly diskId: string; readonly sizeBytes: number } | null;
}

type Context = SagaContext<ResizeServer>;

/**
 * Gives a server another flavor, on its host. It ends `resized`, for its user to confirm or revert. Disks only ever grow: a
 * reverted server keeps the larger one, since nobody can know what its guest has written there.
 */
export const resizeServer: Saga<Context> = {
  name: "resize-server",
  steps: [
    {
      name: "record",
      run: async (context) => void (await serverOf(context)),
      undo: giveUp,
    },
    {
      name: "stop",
      run: stop,
      undo: bootAgain,
    },
    {
      name: "grow",
      run: grow,
    },
    {
      name: "boot",
      run: boot,
      undo: ({ hypervisor, params }) => hypervisor.destroy(params.serverId),
    },
    {
      name: "publish",
      run: publish,
    },
  ],
};

async function stop({ hypervisor, limits, params }: Context, { signal }: StepScope): Promise<void> {
  await stopGuest(hypervisor, params.serverId, { ...limits.hypervisor, signal });
}

async function grow({ db, pools, locks, params }: Context): Promise<void> {
  if (!params.root) return;
  const { deviceId, sizeBytes } = params.root;
  const id = diskId(params.root.diskId);
  await using _ = await locks.take(id);
  const disk = await getDisk(db, id);
  if (disk.virtualSizeBytes < sizeBytes) {
    await pools.get(disk.pool).resize(disk, sizeBytes);
    await db.transaction().execute((trx) => setDiskSize(trx, id, sizeBytes));
  }
  await updateDevice(db, deviceId, { size_bytes: sizeBytes });
}

async function boot(context: Context, { signal }: StepScope): Promise<void> {
  await showTask(context, context.params.isReverting ? "resize_reverting" : "resize_finish");
  await (context.params.runs ? bootGuest : defineGuest)(context, await serverOf(context), signal);
}

/** With the flavor that it had: the record is put right first, as the last step of the way back. */
async function bootAgain(context: Context): Promise<void> {
  const { runs, oldFlavor } = context.params;
  await bringBack(context, { runs, changes: { flavor: oldFlavor } });
}

async function publish(context: Context): Promise<void> {
  const { isReverting, runs, oldFlavor } = context.params;
  const rest = runs ? ({ vm_state: "active", power_state: POWER_STATES.running } as const) : ({ vm_state: "stopped", power_state: POWER_STATES.shutDown } as const);
  if (isReverting) await settleServer(context, { ...rest, previous_flavor: null, previous_vm_state: null });
  else await settleServer(context, { vm_state: "resized", power_state: rest.power_state, previous_flavor: oldFlavor, previous_vm_state: rest.vm_state });
}

/** The flavor and its quota are as they were. */
async function giveUp(context: Context, because: Failure): Promise<void> {
  const { db, params } = context;
  const { oldFlavor, newFlavor, isReverting, runs } = params;
  const rest = runs ? ({ vm_state: "active", power_state: POWER_STATES.running } as const) : ({ vm_state: "stopped", power_state: POWER_STATES.shutDown } as const);
  await db.transaction().execute(async (trx) => {
    const server = await findServer(trx, params.serverId);
    if (!server || server.flavor === oldFlavor) return;
    await addQuotaUsage(trx, server.project_id, giveBack(serverQuota(JSON.parse(newFlavor))));
    await addQuotaUsage(trx, server.project_id, serverQuota(JSON.parse(oldFlavor)));
    await updateServer(trx, params.serverId, { flavor: oldFlavor });
  });
  const standing = { ...rest, ...(await standingOf(context.hypervisor, params.serverId)) };
  await settleFailed(context, because, isReverting ? { vm_state: "resized", power_state: standing.power_state } : { ...standing, previous_flavor: null, previous_vm_state: null });
}

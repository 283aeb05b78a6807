import { devicesOf, insertDevice, removeDevice, updateDevice } from "#/db/block-devices.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { freeTarget } from "#/domain/block-device.ts";
import { diskId } from "#/domain/ids.ts";
import { POWER_STATES, type VmState } from "#/domain/server.ts";
import { busOf } from "#/domain/server-image.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bringBack } from "#/saga/bring-back.ts";
import { bootGuest } from "#/saga/define-guest.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { forgetRescuePassword, keepGivenPassword } from "#/saga/given-password.ts";
import { RESCUE } from "#/saga/guest-spec.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type NewDiskRecord, sourceDisk } from "#/saga/materialise.ts";
import { standingOf } from "#/saga/power-state.ts";
import { serverOf, settleFailed, settleServer } from "#/saga/server-record.ts";
import { stopGuest } from "#/vm/stop-guest.ts";

export interface RescueServer {
  readonly serverId: string;
  readonly imageId: string;
  /** Of the disk that it boots from meanwhile, and of its device. */
  readonly deviceId: string;
  readonly plan: Plan;
  readonly vmState: VmState;
}

type Context = SagaContext<RescueServer>;

/** Boots a server from a disk of its own made of an image, with all its disks where they are: Nova's stable device rescue. */
export const rescueServer: Saga<Context> = {
  name: "rescue-server",
  steps: [
    {
      name: "record",
      run: async (context) => {
        await serverOf(context);
        await keepGivenPassword(context, "rescue");
      },
      undo: markFailed,
    },
    {
      name: "disk",
      run: addRescueDisk,
      undo: dropRescueDisk,
    },
    {
      name: "stop",
      run: ({ hypervisor, limits, params }, { signal }) => stopGuest(hypervisor, params.serverId, { ...limits.hypervisor, signal }),
      undo: bootAgain,
    },
    {
      name: "boot",
      run: boot,
      undo: ({ hypervisor, params }) => hypervisor.destroy(params.serverId),
    },
    {
      name: "publish",
      run: (context) =>
        settleServer(context, { vm_state: "rescued", power_state: POWER_STATES.running, rescue_image_id: context.params.imageId, previous_vm_state: context.params.vmState }),
    },
  ],
};

async function addRescueDisk(context: Context, scope: StepScope): Promise<void> {
  const { db, params } = context;
  const devices = await devicesOf(db, params.serverId);
  if (!devices.some(({ id }) => id === params.deviceId)) await insertDevice(db, await rescueDevice(context, devices));
  await makeDisk(context, { plan: params.plan, target: targetOf(context), source: () => sourceDisk(context, params.plan) }, scope);
  await updateDevice(db, params.deviceId, { disk_id: params.deviceId, state: "attached" });
}

async function rescueDevice(context: Context, devices: readonly BlockDeviceTable[]): Promise<BlockDeviceTable> {
  const { clock, params } = context;
  const bus = busOf(JSON.parse((await serverOf(context)).image_properties), "disk");
  return {
    id: params.deviceId,
    server_id: params.serverId,
    source: "image",
    destination: "local",
    source_id: params.imageId,
    volume_id: null,
    disk_id: null,
    size_bytes: params.plan.target.virtualSizeBytes,
    target: freeTarget(bus, new Set(devices.map(({ target }) => target))),
    bus,
    kind: "disk",
    boot_index: null,
    guest_format: RESCUE,
    tag: null,
    delete_on_termination: 1,
    made_volume: 0,
    state: "attaching",
    created_at: clock.nowMs(),
  };
}

function targetOf({ params }: Context): NewDiskRecord {
  const { pool, virtualSizeBytes, format } = params.plan.target;
  return { id: diskId(params.deviceId), pool, format, virtualSizeBytes, holder: { kind: "server", id: params.serverId } };
}

async function boot(context: Context, { signal }: StepScope): Promise<void> {
  await context.hypervisor.discardSaved(context.params.serverId, { signal });
  await bootGuest(context, await serverOf(context), signal);
}

async function dropRescueDisk(context: Context): Promise<void> {
  await removeDevice(context.db, context.params.deviceId);
  await discardTarget(context, targetOf(context));
}

/** The server boots as it did before, where it ran; it does not have to wait until the rescue disk is gone. */
async function bootAgain(context: Context): Promise<void> {
  await removeDevice(context.db, context.params.deviceId);
  await forgetRescuePassword(context);
  await bringBack(context, { runs: context.params.vmState === "active" });
}

async function markFailed(context: Context, because: Failure): Promise<void> {
  const { hypervisor, params } = context;
  await forgetRescuePassword(context);
  const { vm_state = params.vmState, power_state } = await standingOf(hypervisor, params.serverId);
  const rests = params.vmState === "error" ? params.vmState : vm_state;
  await settleFailed(context, because, { vm_state: rests, ...(power_state !== undefined && { power_state }), rescue_image_id: null, previous_vm_state: null });
}

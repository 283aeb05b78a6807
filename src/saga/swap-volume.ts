import { findDevice, updateDevice } from "#/db/block-devices.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { bringBack } from "#/saga/bring-back.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { guestDisk } from "#/saga/guest-spec.ts";
import { keepInPlace } from "#/saga/open-in-guest.ts";
import { finishServerAction } from "#/saga/server-record.ts";

export interface SwapVolume {
  readonly serverId: string;
  readonly deviceId: string;
  readonly oldVolumeId: string;
  /** Reserved, and as large. */
  readonly newVolumeId: string;
}

type Context = SagaContext<SwapVolume>;

/** Moves a running guest from one volume to another, content and all, while it writes. The old volume is free afterwards, with what it had then. */
export const swapVolume: Saga<Context> = {
  name: "swap-volume",
  steps: [
    {
      name: "record",
      run: async (context) => void (await deviceOf(context)),
      undo: giveUp,
    },
    {
      name: "copy",
      run: (context, scope) => moveTo(context, context.params.newVolumeId, scope),
      undo: moveBack,
    },
    {
      name: "publish",
      run: publish,
    },
  ],
};

async function moveTo(context: Context, volumeId: string, { signal, progress }: StepScope): Promise<void> {
  const { hypervisor, params } = context;
  const device = await deviceOf(context);
  await using _ = await keepInPlace(context, [(await findVolume(context.db, volumeId))?.disk_id ?? ""]);
  const disk = await guestDisk(context, { ...device, volume_id: volumeId });
  await hypervisor.replaceDisk(params.serverId, device.target, disk, { signal, onProgress: progress });
}

/** The guest may be on the new volume already: then it is moved again. One that stopped starts with what its records say. Once published, it stays there. */
async function moveBack(context: Context): Promise<void> {
  const { params } = context;
  const device = await findDevice(context.db, params.deviceId);
  if (device?.volume_id !== params.oldVolumeId) return;
  const guest = await context.hypervisor.stat(params.serverId);
  if (!guest || !["running", "paused"].includes(guest.state)) return bringBack(context, { runs: false });
  await moveTo(context, params.oldVolumeId, { signal: new AbortController().signal, progress: () => {} });
}

async function publish(context: Context): Promise<void> {
  const { db, clock, params } = context;
  const now = clock.nowMs();
  await db.transaction().execute(async (trx) => {
    await updateDevice(trx, params.deviceId, { volume_id: params.newVolumeId, source_id: params.newVolumeId, state: "attached" });
    await updateVolume(trx, params.oldVolumeId, { status: "available", attach_status: "detached", updated_at: now });
    await updateVolume(trx, params.newVolumeId, { status: "in-use", attach_status: "attached", updated_at: now });
  });
  await finishServerAction(context);
}

async function giveUp(context: Context, because: { message: string }): Promise<void> {
  const { db, clock, params } = context;
  await db.transaction().execute(async (trx) => {
    const device = await findDevice(trx, params.deviceId);
    if (device?.volume_id === params.newVolumeId) return;
    if (device) await updateDevice(trx, device.id, { state: "attached" });
    for (const [id, from, to] of [
      [params.newVolumeId, "reserved", "available"],
      [params.oldVolumeId, "detaching", "in-use"],
    ] as const) {
      if ((await findVolume(trx, id))?.status === from) await updateVolume(trx, id, { status: to, updated_at: clock.nowMs() });
    }
  });
  await finishServerAction(context, because);
}

async function deviceOf({ db, params }: Context): Promise<BlockDeviceTable> {
  const device = await findDevice(db, params.deviceId);
  if (!device) throw new AppError("gone", "The volume was detached before it could be swapped.");
  return device;
}

import { findDevice, updateDevice } from "#/db/block-devices.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { findVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { markAttached, markDetached } from "#/saga/attached-volume.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { guestDisk } from "#/saga/guest-spec.ts";
import { inGuest } from "#/saga/in-guest.ts";
import { keepInPlace } from "#/saga/open-in-guest.ts";
import { finishServerAction } from "#/saga/server-record.ts";

export interface AttachVolume {
  readonly serverId: string;
  /** The block device, recorded as `attaching`. */
  readonly deviceId: string;
}

type Context = SagaContext<AttachVolume>;

/** Gives a volume to a server, to a running guest too. The volume is reserved; it ends `in-use`, or free again. */
export const attachVolume: Saga<Context> = {
  name: "attach-volume",
  steps: [
    {
      name: "record",
      run: async (context) => void (await deviceOf(context)),
      undo: giveUp,
    },
    {
      name: "attach",
      run: attach,
      undo: detach,
    },
    {
      name: "publish",
      run: async (context) => {
        const { db, clock } = context;
        const device = await deviceOf(context);
        await db.transaction().execute((trx) => markAttached(trx, device, clock.nowMs()));
        await finishServerAction(context);
      },
    },
  ],
};

async function attach(context: Context, { signal }: StepScope): Promise<void> {
  const { db, hypervisor, params } = context;
  const device = await deviceOf(context);
  const disk = (await findVolume(db, device.volume_id ?? ""))?.disk_id;
  if (!disk) throw new AppError("gone", `Volume ${device.volume_id} was deleted while it was being attached.`);
  await using _ = await keepInPlace(context, [disk]);
  await inGuest(context, async () => hypervisor.attachDisk(params.serverId, await guestDisk(context, device), { signal }));
}

/** On record first: whoever boots the guest meanwhile does not give it the disk again. */
async function detach(context: Context): Promise<void> {
  const { db, hypervisor, params } = context;
  const device = await findDevice(db, params.deviceId);
  if (!device) return;
  await updateDevice(db, device.id, { state: "detaching" });
  const disk = (await findVolume(db, device.volume_id ?? ""))?.disk_id;
  await using _ = await keepInPlace(context, disk ? [disk] : []);
  const guest = await hypervisor.stat(params.serverId);
  const isSavedWithout = guest?.state === "suspended" && !guest.disks.some(({ target }) => target === device.target);
  if (guest && !isSavedWithout) await hypervisor.detachDisk(params.serverId, device.target);
}

async function giveUp(context: Context, because: { message: string }): Promise<void> {
  const { db, clock, params } = context;
  const device = await findDevice(db, params.deviceId);
  if (device) await db.transaction().execute((trx) => markDetached(trx, device, clock.nowMs()));
  await finishServerAction(context, because);
}

async function deviceOf({ db, params }: Context): Promise<BlockDeviceTable> {
  const device = await findDevice(db, params.deviceId);
  if (!device) throw new AppError("gone", "The server was deleted while the volume was being attached.");
  return device;
}

import { findDevice, updateDevice } from "#/db/block-devices.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { markDetached } from "#/saga/attached-volume.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { guestDisk } from "#/saga/guest-spec.ts";
import { inGuest } from "#/saga/in-guest.ts";
import { keepInPlace } from "#/saga/open-in-guest.ts";
import { finishServerAction } from "#/saga/server-record.ts";

export interface DetachVolume {
  readonly serverId: string;
  readonly deviceId: string;
}

type Context = SagaContext<DetachVolume>;

/** Takes a volume away from a server. A guest that does not let go of it keeps it, or gets it back, and the volume stays `in-use`. */
export const detachVolume: Saga<Context> = {
  name: "detach-volume",
  steps: [
    {
      name: "detach",
      run: detach,
      undo: keep,
    },
    {
      name: "publish",
      run: async (context) => {
        const { db, clock, params } = context;
        const device = await findDevice(db, params.deviceId);
        if (device) await db.transaction().execute((trx) => markDetached(trx, device, clock.nowMs()));
        await finishServerAction(context);
      },
    },
  ],
};

async function detach(context: Context, { signal }: StepScope): Promise<void> {
  const { db, hypervisor, params } = context;
  const device = await findDevice(db, params.deviceId);
  if (device) await inGuest(context, () => hypervisor.detachDisk(params.serverId, device.target, { signal }));
}

/** On record first: whoever boots the guest meanwhile gives it the disk. */
async function keep(context: Context, because: { message: string }): Promise<void> {
  const device = await context.db.transaction().execute(async (trx) => {
    const found = await findDevice(trx, context.params.deviceId);
    const volume = found?.volume_id ? await findVolume(trx, found.volume_id) : undefined;
    if (found) await updateDevice(trx, found.id, { state: "attached" });
    if (volume?.status === "detaching") await updateVolume(trx, volume.id, { status: "in-use" });
    return found;
  });
  if (device) await giveBack(context, device);
  await finishServerAction(context, because);
}

async function giveBack(context: Context, device: BlockDeviceTable): Promise<void> {
  const { db, hypervisor, params } = context;
  const disk = (await findVolume(db, device.volume_id ?? ""))?.disk_id;
  await using _ = await keepInPlace(context, disk ? [disk] : []);
  const guest = await hypervisor.stat(params.serverId);
  const isThere = guest?.disks.some(({ target }) => target === device.target);
  if (guest && !isThere) await hypervisor.attachDisk(params.serverId, await guestDisk(context, device));
}

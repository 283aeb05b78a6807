import { findDevice, updateDevice } from "#/db/block-devices.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { markDetached } from "#/saga/attached-volume.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { guestDisk } from "#/saga/guest-spec.ts";
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

async function detach({ db, hypervisor, params }: Context, { signal }: StepScope): Promise<void> {
  const device = await findDevice(db, params.deviceId);
  if (!device || (await hypervisor.stat(params.serverId)) === undefined) return;
  await hypervisor.detachDisk(params.serverId, device.target, { signal });
}

async function keep(context: Context, because: { message: string }): Promise<void> {
  const { db, hypervisor, params } = context;
  const kept = await findDevice(db, params.deviceId);
  const guest = kept && (await hypervisor.stat(params.serverId));
  const isThere = guest?.disks.some(({ target }) => target === kept?.target);
  if (guest && !isThere) await hypervisor.attachDisk(params.serverId, await guestDisk(context, kept));
  await db.transaction().execute(async (trx) => {
    const device = await findDevice(trx, params.deviceId);
    const volume = device?.volume_id ? await findVolume(trx, device.volume_id) : undefined;
    if (device) await updateDevice(trx, device.id, { state: "attached" });
    if (volume?.status === "detaching") await updateVolume(trx, volume.id, { status: "in-use" });
  });
  await finishServerAction(context, because);
}

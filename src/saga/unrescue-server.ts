import { devicesOf, removeDevice, updateDevice } from "#/db/block-devices.ts";
import { updateServer } from "#/db/servers.ts";
import { diskId } from "#/domain/ids.ts";
import { POWER_STATES } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bootGuest } from "#/saga/define-guest.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import { forgetRescuePassword } from "#/saga/given-password.ts";
import { RESCUE } from "#/saga/guest-spec.ts";
import { releaseDisk } from "#/saga/release-disk.ts";
import { type ServerParams, serverOf, settleFailed, settleServer } from "#/saga/server-record.ts";
import { stopGuest } from "#/vm/stop-guest.ts";

/** Boots a rescued server from its own disk again; the rescue disk goes. */
export const unrescueServer: Saga<SagaContext<ServerParams>> = {
  name: "unrescue-server",
  steps: [
    {
      name: "stop",
      run: ({ hypervisor, limits, params }, { signal }) => stopGuest(hypervisor, params.serverId, { ...limits.hypervisor, signal }),
      undo: async (context, because) => settleFailed(context, because, { vm_state: "rescued" }),
    },
    {
      name: "drop disk",
      run: forgetRescueDisk,
    },
    {
      name: "boot",
      run: async (context, { signal }) => bootGuest(context, await serverOf(context), signal),
    },
    {
      name: "publish",
      run: (context) => settleServer(context, { vm_state: "active", power_state: POWER_STATES.running, rescue_image_id: null, previous_vm_state: null }),
    },
  ],
};

async function forgetRescueDisk(context: SagaContext<ServerParams>): Promise<void> {
  const { db, params } = context;
  await forgetRescuePassword(context);
  const device = (await devicesOf(db, params.serverId)).find(({ guest_format }) => guest_format === RESCUE);
  if (!device) return;
  await updateDevice(db, device.id, { disk_id: null });
  await releaseDisk(context, diskId(device.id));
  await removeDevice(db, device.id);
  await updateServer(db, params.serverId, { rescue_image_id: null });
}

import { devicesOf } from "#/db/block-devices.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { findServer, removeServer } from "#/db/servers.ts";
import { giveBack, serverQuota } from "#/domain/quota.ts";
import { beginDelete, markDetached } from "#/saga/attached-volume.ts";
import type { SagaContext } from "#/saga/context.ts";
import { endOthers } from "#/saga/end-others.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { releaseInstantsOfServer } from "#/saga/kept-instant.ts";
import { releaseDisksOf } from "#/saga/release-disk.ts";
import { finishServerAction, type ServerParams, settleFailed } from "#/saga/server-record.ts";
import { beginDropShelved } from "#/saga/shelved-image.ts";
import { removeFolder } from "#/vm/server-folder.ts";

type Context = SagaContext<ServerParams>;

/** Deletes only go forward: what fails leaves the server in `error`, to be deleted again. */
export const deleteServer: Saga<Context> = {
  name: "delete-server",
  steps: [
    {
      name: "end others",
      run: (context) => endOthers(context, context.params.serverId),
      undo: async (context, because) => {
        if (await findServer(context.db, context.params.serverId)) await settleFailed(context, because, { vm_state: "error", task_state: null });
      },
    },
    {
      name: "end guest",
      run: endGuest,
    },
    {
      name: "volumes",
      run: freeVolumes,
    },
    {
      name: "disks",
      run: dropDisks,
    },
    {
      name: "record",
      run: dropRecord,
    },
  ],
};

async function endGuest({ hypervisor, params }: Context, { signal }: StepScope): Promise<void> {
  await hypervisor.destroy(params.serverId, { signal });
  await hypervisor.undefine(params.serverId, { signal });
}

/** Volumes are free again, or go along where the user asked for that. */
async function freeVolumes(context: Context): Promise<void> {
  const { db, clock, runner, params } = context;
  const devices = (await devicesOf(db, params.serverId)).filter(({ volume_id }) => volume_id !== null);
  for (const device of devices) {
    const deletion = await db.transaction().execute(async (trx) => {
      await markDetached(trx, device, clock.nowMs());
      return device.delete_on_termination ? beginDelete(context, trx, device.volume_id ?? "") : undefined;
    });
    if (deletion) void runner.run(deletion);
  }
}

async function dropDisks(context: Context, { signal, progress }: StepScope): Promise<void> {
  const { db, params } = context;
  await releaseInstantsOfServer(context, params.serverId, { signal });
  await db.updateTable("block_device").set({ disk_id: null }).where("server_id", "=", params.serverId).execute();
  await releaseDisksOf(context, { kind: "server", id: params.serverId }, { signal, onProgress: progress });
}

async function dropRecord(context: Context): Promise<void> {
  const { db, limits, params, runner } = context;
  await removeFolder(limits.servers.dir, params.serverId);
  const deletion = await db.transaction().execute(async (trx) => {
    const server = await removeServer(trx, params.serverId);
    if (server) await addQuotaUsage(trx, server.project_id, giveBack(serverQuota(JSON.parse(server.flavor))));
    await finishServerAction({ ...context, db: trx });
    return beginDropShelved(context, trx, server?.shelved_image_id ?? null);
  });
  if (deletion) void runner.run(deletion);
}

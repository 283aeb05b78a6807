import { devicesOf, updateDevice } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { findImage } from "#/db/images.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, type OperationId } from "#/domain/ids.ts";
import { bringBack } from "#/saga/bring-back.ts";
import type { SagaContext } from "#/saga/context.ts";
import { beginDrop } from "#/saga/drop-disk.ts";
import type { Failure, Saga } from "#/saga/engine/saga.ts";
import { noWayBackFrom } from "#/saga/no-way-back.ts";
import { type ServerParams, serverOf, settleFailed, settleServer } from "#/saga/server-record.ts";
import type { CallOptions } from "#/vm/call-options.ts";
import { removeFolder } from "#/vm/server-folder.ts";

type Context = SagaContext<ServerParams>;

/** Takes a shelved server off its host: what it comes back from is its image. What fails leaves it shelved where it is. */
export const offloadServer: Saga<Context> = {
  name: "offload-server",
  steps: noWayBackFrom<ServerParams>(
    ["shelved_offloaded"],
    [
      {
        name: "leave",
        run: takeOffHost,
        undo: stay,
      },
      {
        name: "settle",
        run: settle,
      },
    ],
  ),
};

/** Nothing of the server is on its host any more. Its disks are another matter. */
export async function takeOffHost({ hypervisor, limits, params }: Context, { signal }: CallOptions = {}): Promise<void> {
  await hypervisor.destroy(params.serverId, { signal });
  await hypervisor.discardSaved(params.serverId, { signal });
  await hypervisor.undefine(params.serverId, { signal });
  await removeFolder(limits.servers.dir, params.serverId);
}

/**
 * The server's own disk goes, since the image has all of it; run the answer once that is committed. Its other disks are in no image, and stay as they are. `conflict` where the image is gone,
 * or may not be read: then the disk is all there is.
 */
export async function dropRoot(context: Context, trx: Database, imageId: string | null): Promise<OperationId | undefined> {
  const root = (await devicesOf(trx, context.params.serverId)).find(({ boot_index }) => boot_index === 0);
  if (!root?.disk_id) return undefined;
  const image = imageId === null ? undefined : await findImage(trx, imageId);
  if (!image?.disk_id || image.status !== "active") throw new AppError("conflict", `The server cannot leave its host: image ${imageId}, which has its disk, ${image ? `is ${image.status}` : "was deleted"}.`);
  await updateDevice(trx, root.id, { disk_id: null });
  return beginDrop(context, trx, diskId(root.disk_id));
}

async function stay(context: Context, because: Failure): Promise<void> {
  await bringBack(context, { runs: false });
  await settleFailed(context, because);
}

async function settle(context: Context): Promise<void> {
  const { db, runner } = context;
  const drop = await db.transaction().execute(async (trx) => {
    const within = { ...context, db: trx };
    const { shelved_image_id } = await serverOf(within);
    await settleServer(within, { vm_state: "shelved_offloaded" });
    return dropRoot(context, trx, shelved_image_id);
  });
  if (drop) void runner.run(drop);
}

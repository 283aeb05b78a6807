import { frozenDisksOf, removeCaptureBase } from "#/db/capture-bases.ts";
import type { Database } from "#/db/database.ts";
import { findDisk } from "#/db/disks.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import { beginDrop } from "#/saga/drop-disk.ts";
import { releaseDisk } from "#/saga/release-disk.ts";
import type { WorkOptions } from "#/storage/driver.ts";

/** What a pool keeps of a server's disk, as it was when an image of it was made. It goes with that image, with the server, and when a later image takes its place: it takes the space of what has changed since. */

type Context = SagaContext<object>;

/** No image is made any more of what has changed on the device. Of what its pool kept for that, but for the disk `kept`, the drop is begun: run the answer once that is committed. */
export async function forgetBase(context: Pick<Context, "runner" | "requestId">, trx: Database, deviceId: string, kept?: DiskId): Promise<OperationId[]> {
  const former = (await removeCaptureBase(trx, deviceId))?.frozen_disk_id;
  if (!former || former === kept || !(await findDisk(trx, diskId(former)))) return [];
  return [await beginDrop(context, trx, diskId(former))];
}

/** Its image is gone. The pool may have to be waited for, and the image's deletion does not. */
export async function dropInstant(context: Context, id: DiskId): Promise<void> {
  const drop = await context.db.transaction().execute(async (trx) => ((await findDisk(trx, id)) ? beginDrop(context, trx, id) : undefined));
  if (drop) void context.runner.run(drop);
}

/** Before the server's disks, which what was kept of them may read through. */
export async function releaseInstantsOfServer(context: Context, serverId: string, options: WorkOptions): Promise<void> {
  for (const id of await frozenDisksOf(context.db, serverId)) await releaseDisk(context, diskId(id), options);
}

import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { findCaptureBase } from "#/db/capture-bases.ts";
import { depthOf, findDisk } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { diskId } from "#/domain/ids.ts";
import type { CaptureFacts } from "#/planner/capture.ts";
import type { Since } from "#/planner/facts.ts";
import { forgetBase } from "#/saga/kept-instant.ts";

type Context = Pick<AppContext, "db" | "config">;

/** What an image of a server's own disk is planned with: what it can be made of, and whether the next one can be made of it. */
export async function incrementsOf(context: Context, device: Pick<BlockDeviceTable, "id">): Promise<Pick<CaptureFacts, "since" | "remembers">> {
  return { since: await previousImage(context, device), remembers: context.config.servers.incrementalImages };
}

/** What pools keep for next images goes where their operator wants no more of these; what guests remember goes with the next image of each. */
export async function endUnwanted({ db, config, runner }: Pick<AppContext, "db" | "config" | "runner">): Promise<void> {
  if (config.servers.incrementalImages) return;
  const rows = await db.selectFrom("capture_base").select(["device_id", "frozen_disk_id"]).where("frozen_disk_id", "is not", null).execute();
  for (const { device_id } of rows) {
    const drops = await db.transaction().execute((trx) => forgetBase({ runner, requestId: `req-${randomUUID()}` }, trx, device_id));
    for (const drop of drops) void runner.run(drop);
  }
}

/** The image that was made of a server's own disk before, where it is known what changed on the disk since; else why there is none. */
async function previousImage({ db, config }: Context, { id }: Pick<BlockDeviceTable, "id">): Promise<Since> {
  if (!config.servers.incrementalImages) return { unknown: "servers.incrementalImages is off" };
  const base = await findCaptureBase(db, id);
  if (!base) return { unknown: "there is no image of the disk from which on its guest or its pool knows what changes: only one that is raw can be the first, read by a backup job or from what a pool has frozen" };
  const image = await findImage(db, base.image_id);
  if (image?.status !== "active") return { unknown: `image ${base.image_id}, the one before, is ${image?.status ?? "deleted"}` };
  const disk = image.disk_id === null ? undefined : await findDisk(db, diskId(image.disk_id));
  if (disk?.state !== "ready") return { unknown: `the bytes of image ${image.id}, the one before, are not there` };
  const toldBy = base.frozen_disk_id === null ? "guest" : "pool";
  return { imageId: image.id, diskId: disk.id, toldBy, pool: disk.pool, virtualSizeBytes: disk.virtualSizeBytes, depth: await depthOf(db, disk.id) };
}

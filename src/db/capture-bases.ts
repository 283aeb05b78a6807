import type { Database } from "./database.ts";
import type { CaptureBaseTable } from "./server-tables.ts";

/** Undefined where nobody knows what has changed on the disk since an image of it was made: also where it is another disk by now, or another file (frozen, flattened). */
export async function findCaptureBase(db: Database, deviceId: string): Promise<CaptureBaseTable | undefined> {
  return standing(db).where("capture_base.device_id", "=", deviceId).executeTakeFirst();
}

/** Those of all disks of the server. */
export async function captureBasesOf(db: Database, serverId: string): Promise<CaptureBaseTable[]> {
  return standing(db).where("block_device.server_id", "=", serverId).execute();
}

function standing(db: Database) {
  return db
    .selectFrom("capture_base")
    .innerJoin("block_device", "block_device.id", "capture_base.device_id")
    .innerJoin("disk", "disk.id", "block_device.disk_id")
    .selectAll("capture_base")
    .whereRef("capture_base.live_disk_id", "=", "disk.id")
    .where((eb) => eb("capture_base.live_parent_id", "is", eb.ref("disk.parent_id")));
}

/** Takes the place of the one before. */
export async function setCaptureBase(trx: Database, row: CaptureBaseTable): Promise<void> {
  await removeCaptureBase(trx, row.device_id);
  await trx.insertInto("capture_base").values(row).execute();
}

export async function removeCaptureBase(db: Database, deviceId: string): Promise<void> {
  await db.deleteFrom("capture_base").where("device_id", "=", deviceId).execute();
}

/** No image is made of this one any more. */
export async function removeCaptureBasesOf(db: Database, imageId: string): Promise<void> {
  await db.deleteFrom("capture_base").where("image_id", "=", imageId).execute();
}

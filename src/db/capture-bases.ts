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

/** Of a disk that has none. */
export async function insertCaptureBase(trx: Database, row: CaptureBaseTable): Promise<void> {
  await trx.insertInto("capture_base").values(row).execute();
}

/** What there was, also where nobody knew any more what had changed since. */
export async function removeCaptureBase(trx: Database, deviceId: string): Promise<CaptureBaseTable | undefined> {
  return trx.deleteFrom("capture_base").where("device_id", "=", deviceId).returningAll().executeTakeFirst();
}

/** The disks that pools keep for the next images of the server. */
export async function frozenDisksOf(db: Database, serverId: string): Promise<string[]> {
  const rows = await db
    .selectFrom("capture_base")
    .innerJoin("block_device", "block_device.id", "capture_base.device_id")
    .select("capture_base.frozen_disk_id as id")
    .where("block_device.server_id", "=", serverId)
    .execute();
  return rows.flatMap(({ id }) => id ?? []);
}

/** The disk that a pool keeps, of the instant of the image. */
export async function frozenDiskOfImage(db: Database, imageId: string): Promise<string | null> {
  const row = await db.selectFrom("capture_base").select("frozen_disk_id").where("image_id", "=", imageId).executeTakeFirst();
  return row?.frozen_disk_id ?? null;
}

/** No image is made of this one any more. */
export async function removeCaptureBasesOf(db: Database, imageId: string): Promise<void> {
  await db.deleteFrom("capture_base").where("image_id", "=", imageId).execute();
}

import type { Database } from "./database.ts";
import type { ImageVolumeTable } from "./tables.ts";

/** Records that an image's disk stays in a pool of volumes, and counts as a volume of a project. */
export async function insertImageVolume(trx: Database, row: ImageVolumeTable): Promise<void> {
  await trx.insertInto("image_volume").values(row).execute();
}

export async function findImageVolume(db: Database, imageId: string): Promise<ImageVolumeTable | undefined> {
  return db.selectFrom("image_volume").selectAll().where("image_id", "=", imageId).executeTakeFirst();
}

export async function hasImageVolumeOfType(db: Database, volumeTypeId: string): Promise<boolean> {
  return (await db.selectFrom("image_volume").select("image_id").where("volume_type_id", "=", volumeTypeId).limit(1).executeTakeFirst()) !== undefined;
}

export interface CountedImageVolume extends ImageVolumeTable {
  readonly type: string;
}

/** All of them, each with the name of its volume type. */
export async function imageVolumes(db: Database): Promise<CountedImageVolume[]> {
  return db.selectFrom("image_volume").innerJoin("volume_type", "volume_type.id", "volume_type_id").selectAll("image_volume").select("volume_type.name as type").execute();
}

/** Removes the record of the image's, if it has one. Returns it. */
export async function removeImageVolume(trx: Database, imageId: string): Promise<CountedImageVolume | undefined> {
  const row = await trx.deleteFrom("image_volume").where("image_id", "=", imageId).returningAll().executeTakeFirst();
  if (!row) return undefined;
  const type = await trx.selectFrom("volume_type").select("name").where("id", "=", row.volume_type_id).executeTakeFirst();
  return { ...row, type: type?.name ?? "" };
}

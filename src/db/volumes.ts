import type { Database } from "./database.ts";
import { hasImageVolumeOfType } from "./image-volumes.ts";
import type { VolumeTable } from "./tables.ts";

export async function insertVolume(trx: Database, row: VolumeTable): Promise<void> {
  await trx.insertInto("volume").values(row).execute();
}

export async function findVolume(db: Database, id: string): Promise<VolumeTable | undefined> {
  return db.selectFrom("volume").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function updateVolume(db: Database, id: string, changes: Partial<VolumeTable>): Promise<void> {
  await db.updateTable("volume").set(changes).where("id", "=", id).execute();
}

/** Changes the volume only while its status is one of `from`; the answer is the changed row, or undefined where it is not. */
export async function changeVolumeIn(
  trx: Database,
  id: string,
  { from, changes }: { from: readonly string[]; changes: Partial<VolumeTable> },
): Promise<VolumeTable | undefined> {
  return trx.updateTable("volume").set(changes).where("id", "=", id).where("status", "in", from).returningAll().executeTakeFirst();
}

export async function removeVolume(db: Database, id: string): Promise<VolumeTable | undefined> {
  return db.deleteFrom("volume").where("id", "=", id).returningAll().executeTakeFirst();
}

/** Whether any volume is of the type, or an image that counts as one. */
export async function hasVolumeOfType(db: Database, volumeTypeId: string): Promise<boolean> {
  const volume = await db.selectFrom("volume").select("id").where("volume_type_id", "=", volumeTypeId).limit(1).executeTakeFirst();
  return volume !== undefined || (await hasImageVolumeOfType(db, volumeTypeId));
}

/** Holds the volume as it is until the transaction ends. False where its status is not one of `statuses`. */
export async function lockVolumeIn(trx: Database, id: string, statuses: readonly string[]): Promise<boolean> {
  const { numUpdatedRows } = await trx
    .updateTable("volume")
    .set((eb) => ({ status: eb.ref("status") }))
    .where("id", "=", id)
    .where("status", "in", statuses)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

import type { Database } from "./database.ts";
import type { VolumeTable } from "./tables.ts";

export async function findVolume(db: Database, id: string): Promise<VolumeTable | undefined> {
  return db.selectFrom("volume").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function updateVolume(db: Database, id: string, changes: Partial<VolumeTable>): Promise<void> {
  await db.updateTable("volume").set(changes).where("id", "=", id).execute();
}

export async function removeVolume(db: Database, id: string): Promise<VolumeTable | undefined> {
  return db.deleteFrom("volume").where("id", "=", id).returningAll().executeTakeFirst();
}

import type { Database } from "./database.ts";
import type { SnapshotTable } from "./tables.ts";

export async function findSnapshot(db: Database, id: string): Promise<SnapshotTable | undefined> {
  return db.selectFrom("snapshot").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function updateSnapshot(db: Database, id: string, changes: Partial<SnapshotTable>): Promise<void> {
  await db.updateTable("snapshot").set(changes).where("id", "=", id).execute();
}

export async function removeSnapshot(db: Database, id: string): Promise<SnapshotTable | undefined> {
  return db.deleteFrom("snapshot").where("id", "=", id).returningAll().executeTakeFirst();
}

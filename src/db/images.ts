import type { Database } from "./database.ts";
import type { ImageTable } from "./tables.ts";

export async function findImage(db: Database, id: string): Promise<ImageTable | undefined> {
  return db.selectFrom("image").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function updateImage(db: Database, id: string, changes: Partial<ImageTable>): Promise<void> {
  await db.updateTable("image").set(changes).where("id", "=", id).execute();
}

/** Removes the record with its properties, tags and members. */
export async function removeImage(db: Database, id: string): Promise<ImageTable | undefined> {
  return db.deleteFrom("image").where("id", "=", id).returningAll().executeTakeFirst();
}

import type { Kysely } from "kysely";

/** Snapshots that an image of a server stands for: they go with it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable("snapshot").addColumn("image_id", "text").execute();
  await db.schema.createIndex("snapshot_image").on("snapshot").columns(["image_id"]).execute();
}

import type { Kysely } from "kysely";

/** From which image on a server's disk knows what has changed. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("capture_base")
    .addColumn("device_id", "text", (c) => c.primaryKey().references("block_device.id").onDelete("cascade"))
    .addColumn("live_disk_id", "text", (c) => c.notNull())
    .addColumn("live_parent_id", "text")
    .addColumn("image_id", "text", (c) => c.notNull().references("image.id").onDelete("cascade"))
    .addColumn("checkpoint", "text", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("capture_base_image").on("capture_base").columns(["image_id"]).execute();
}

import { type Kysely, sql } from "kysely";

/** What has changed on a server's disk since an image of it may also be known by its pool. SQLite cannot make a column optional: the table is made anew, with what it holds. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable("capture_base").renameTo("capture_base_before").execute();
  await db.schema
    .createTable("capture_base")
    .addColumn("device_id", "text", (c) => c.primaryKey().references("block_device.id").onDelete("cascade"))
    .addColumn("live_disk_id", "text", (c) => c.notNull())
    .addColumn("live_parent_id", "text")
    .addColumn("image_id", "text", (c) => c.notNull().references("image.id").onDelete("cascade"))
    .addColumn("checkpoint", "text")
    .addColumn("frozen_disk_id", "text")
    .execute();
  await sql`insert into capture_base select device_id, live_disk_id, live_parent_id, image_id, checkpoint, null from capture_base_before`.execute(db);
  await db.schema.dropTable("capture_base_before").execute();
  await db.schema.createIndex("capture_base_image").on("capture_base").columns(["image_id"]).execute();
}

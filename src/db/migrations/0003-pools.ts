import type { Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("pool")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("config", "text")
    .addColumn("drained", "integer", (c) => c.notNull())
    .addColumn("space", "text")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("volume_pool").on("volume").columns(["pool", "status"]).execute();
}

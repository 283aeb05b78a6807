import type { Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("server_group")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("policy", "text", (c) => c.notNull())
    .addColumn("servers_per_host_max", "integer")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("server_group_project").on("server_group").columns(["project_id", "created_at", "id"]).execute();
  await db.schema
    .createTable("server_placement")
    .addColumn("server_id", "text", (c) => c.primaryKey().references("server.id").onDelete("cascade"))
    .addColumn("group_id", "text", (c) => c.references("server_group.id").onDelete("set null"))
    .addColumn("hints", "text", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("server_placement_group").on("server_placement").columns(["group_id"]).execute();
}

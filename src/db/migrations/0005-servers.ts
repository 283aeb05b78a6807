import type { Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("server")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("description", "text")
    .addColumn("hostname", "text", (c) => c.notNull())
    .addColumn("vm_state", "text", (c) => c.notNull())
    .addColumn("task_state", "text")
    .addColumn("power_state", "integer", (c) => c.notNull())
    .addColumn("previous_vm_state", "text")
    .addColumn("progress", "integer", (c) => c.notNull())
    .addColumn("image_id", "text")
    .addColumn("image_properties", "text", (c) => c.notNull())
    .addColumn("flavor", "text", (c) => c.notNull())
    .addColumn("previous_flavor", "text")
    .addColumn("key_name", "text")
    .addColumn("key_data", "text")
    .addColumn("user_data", "text")
    .addColumn("personality", "text")
    .addColumn("config_drive", "integer", (c) => c.notNull())
    .addColumn("admin_password_hash", "text")
    .addColumn("availability_zone", "text", (c) => c.notNull())
    .addColumn("host", "text", (c) => c.notNull())
    .addColumn("reservation_id", "text", (c) => c.notNull())
    .addColumn("launch_index", "integer", (c) => c.notNull())
    .addColumn("disk_config", "text", (c) => c.notNull())
    .addColumn("access_ip_v4", "text")
    .addColumn("access_ip_v6", "text")
    .addColumn("network", "text", (c) => c.notNull())
    .addColumn("locked_by", "text")
    .addColumn("locked_reason", "text")
    .addColumn("fault", "text")
    .addColumn("rescue_image_id", "text")
    .addColumn("shelved_image_id", "text")
    .addColumn("launched_at", "bigint")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("server_project").on("server").columns(["project_id", "created_at", "id"]).execute();
  await db.schema.createIndex("server_image").on("server").columns(["image_id"]).execute();
  await createPairs(db, "server_metadata");
  await db.schema
    .createTable("server_tag")
    .addColumn("server_id", "text", (c) => c.notNull().references("server.id").onDelete("cascade"))
    .addColumn("tag", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("server_tag_pk", ["server_id", "tag"])
    .execute();
  await createDevices(db);
  await createActions(db);
}

async function createPairs(db: Kysely<unknown>, table: string): Promise<void> {
  await db.schema
    .createTable(table)
    .addColumn("server_id", "text", (c) => c.notNull().references("server.id").onDelete("cascade"))
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("value", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint(`${table}_pk`, ["server_id", "name"])
    .execute();
}

async function createDevices(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("block_device")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("server_id", "text", (c) => c.notNull().references("server.id").onDelete("cascade"))
    .addColumn("source", "text", (c) => c.notNull())
    .addColumn("destination", "text", (c) => c.notNull())
    .addColumn("source_id", "text")
    .addColumn("volume_id", "text")
    .addColumn("disk_id", "text")
    .addColumn("size_bytes", "bigint", (c) => c.notNull())
    .addColumn("target", "text", (c) => c.notNull())
    .addColumn("bus", "text", (c) => c.notNull())
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("boot_index", "integer")
    .addColumn("guest_format", "text")
    .addColumn("tag", "text")
    .addColumn("delete_on_termination", "integer", (c) => c.notNull())
    .addColumn("made_volume", "integer", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("block_device_server").on("block_device").columns(["server_id"]).execute();
  await db.schema.createIndex("block_device_volume").on("block_device").columns(["volume_id"]).execute();
  await db.schema.createIndex("block_device_disk").on("block_device").columns(["disk_id"]).execute();
}

async function createActions(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("server_action")
    .addColumn("request_id", "text", (c) => c.notNull())
    .addColumn("server_id", "text", (c) => c.notNull())
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("action", "text", (c) => c.notNull())
    .addColumn("message", "text")
    .addColumn("result", "text")
    .addColumn("started_at", "bigint", (c) => c.notNull())
    .addColumn("finished_at", "bigint")
    .addPrimaryKeyConstraint("server_action_pk", ["server_id", "request_id"])
    .execute();
}

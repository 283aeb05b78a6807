import { type CreateTableBuilder, type Kysely, sql } from "kysely";

/** `bigint` everywhere: sizes and times pass 2^31. SQLite takes it as INTEGER, PostgreSQL as int8. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await settings(db);
  await disks(db);
  await images(db);
  await volumes(db);
  await snapshots(db);
  await volumeTypes(db);
  await quotas(db);
  await operations(db);
}

async function settings(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("setting")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("value", "text", (c) => c.notNull())
    .execute();
}

async function disks(db: Kysely<unknown>): Promise<void> {
  await keyed(db, "disk")
    .addColumn("pool", "text", (c) => c.notNull())
    .addColumn("format", "text", (c) => c.notNull())
    .addColumn("packed", "text")
    .addColumn("virtual_size_bytes", "bigint", (c) => c.notNull())
    .addColumn("parent_id", "text", (c) => c.references("disk.id"))
    .addColumn("location", "text")
    .addColumn("holder_kind", "text", (c) => c.notNull())
    .addColumn("holder_id", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("reserved_bytes", "bigint", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
  await index(db, "disk", ["parent_id"]);
  await index(db, "disk", ["holder_kind", "holder_id"]);
  await index(db, "disk", ["pool", "id"]);

  await db.schema
    .createTable("pool_usage")
    .addColumn("pool", "text", (c) => c.primaryKey())
    .addColumn("provisioned_bytes", "bigint", (c) => c.notNull())
    .addColumn("reserved_bytes", "bigint", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("cache_entry")
    .addColumn("image_id", "text", (c) => c.notNull())
    .addColumn("pool", "text", (c) => c.notNull())
    .addColumn("disk_id", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("filled_by", "text", (c) => c.notNull())
    .addColumn("size_bytes", "bigint", (c) => c.notNull())
    .addColumn("hits", "bigint", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("last_used_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("cache_entry_key", ["image_id", "pool"])
    .execute();
  await index(db, "cache_entry", ["pool", "last_used_at"]);
}

async function images(db: Kysely<unknown>): Promise<void> {
  await keyed(db, "image")
    .addColumn("name", "text")
    .addColumn("owner", "text")
    .addColumn("status", "text", (c) => c.notNull())
    .addColumn("visibility", "text", (c) => c.notNull())
    .addColumn("disk_format", "text")
    .addColumn("container_format", "text")
    .addColumn("size_bytes", "bigint")
    .addColumn("virtual_size_bytes", "bigint")
    .addColumn("min_disk_gib", "bigint", (c) => c.notNull())
    .addColumn("min_ram_mib", "bigint", (c) => c.notNull())
    .addColumn("protected", "integer", (c) => c.notNull())
    .addColumn("hidden", "integer", (c) => c.notNull())
    .addColumn("checksum_md5", "text")
    .addColumn("hash_algorithm", "text")
    .addColumn("hash_value", "text")
    .addColumn("disk_id", "text", (c) => c.references("disk.id"))
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    // What nulls count as in the order of a list: comparisons with null are neither true nor false.
    .addColumn("sort_name", "text", (c) => c.generatedAlwaysAs(sql`coalesce(name, '')`).stored())
    .addColumn("sort_disk_format", "text", (c) => c.generatedAlwaysAs(sql`coalesce(disk_format, '')`).stored())
    .addColumn("sort_container_format", "text", (c) => c.generatedAlwaysAs(sql`coalesce(container_format, '')`).stored())
    .addColumn("sort_size_bytes", "bigint", (c) => c.generatedAlwaysAs(sql`coalesce(size_bytes, -1)`).stored())
    .execute();
  await imageListIndexes(db);

  await keyValues(db, "image_property", "image_id", "image.id");
  await index(db, "image_property", ["name", "value"]);

  await db.schema
    .createTable("image_volume")
    .addColumn("image_id", "text", (c) => c.primaryKey().references("image.id"))
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("volume_type_id", "text", (c) => c.notNull())
    .addColumn("size_bytes", "bigint", (c) => c.notNull())
    .execute();

  await db.schema
    .createTable("image_tag")
    .addColumn("image_id", "text", (c) => c.notNull().references("image.id").onDelete("cascade"))
    .addColumn("tag", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("image_tag_key", ["image_id", "tag"])
    .execute();
  await index(db, "image_tag", ["tag"]);

  await db.schema
    .createTable("image_member")
    .addColumn("image_id", "text", (c) => c.notNull().references("image.id").onDelete("cascade"))
    .addColumn("member_id", "text", (c) => c.notNull())
    .addColumn("status", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("image_member_key", ["image_id", "member_id"])
    .execute();
  await index(db, "image_member", ["member_id", "status"]);
}

/**
 * A list of images is a union of views: all of one visibility, or one owner's of one visibility. Each view in each order is one
 * walk along one of these; writes are rare enough to pay for it.
 */
async function imageListIndexes(db: Kysely<unknown>): Promise<void> {
  const keys = ["updated_at", "sort_name", "status", "sort_disk_format", "sort_container_format", "sort_size_bytes"];
  const orders = [["id"], ["created_at", "id"], ...keys.map((key) => [key, "created_at", "id"])];
  for (const order of orders) {
    await index(db, "image", ["visibility", "hidden", ...order]);
    await index(db, "image", ["owner", "visibility", "hidden", ...order]);
  }
}

async function volumes(db: Kysely<unknown>): Promise<void> {
  await keyed(db, "volume")
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("name", "text")
    .addColumn("description", "text")
    .addColumn("status", "text", (c) => c.notNull())
    .addColumn("previous_status", "text")
    .addColumn("size_bytes", "bigint", (c) => c.notNull())
    .addColumn("availability_zone", "text", (c) => c.notNull())
    .addColumn("volume_type_id", "text", (c) => c.notNull())
    .addColumn("bootable", "integer", (c) => c.notNull())
    .addColumn("readonly", "integer", (c) => c.notNull())
    .addColumn("multiattach", "integer", (c) => c.notNull())
    .addColumn("attach_status", "text", (c) => c.notNull())
    .addColumn("migration_status", "text")
    .addColumn("snapshot_id", "text")
    .addColumn("source_volume_id", "text")
    .addColumn("image_id", "text")
    .addColumn("pool", "text", (c) => c.notNull())
    .addColumn("disk_id", "text", (c) => c.references("disk.id"))
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
  await listIndexes(db, "volume", ["size_bytes"]);
  await index(db, "volume", ["volume_type_id"]);
  for (const table of ["volume_metadata", "volume_image_metadata"]) {
    await keyValues(db, table, "volume_id", "volume.id");
    await index(db, table, ["name", "value", "volume_id"]);
  }
}

async function snapshots(db: Kysely<unknown>): Promise<void> {
  await keyed(db, "snapshot")
    .addColumn("volume_id", "text", (c) => c.notNull().references("volume.id"))
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("name", "text")
    .addColumn("description", "text")
    .addColumn("status", "text", (c) => c.notNull())
    .addColumn("size_bytes", "bigint", (c) => c.notNull())
    .addColumn("disk_id", "text", (c) => c.references("disk.id"))
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
  await listIndexes(db, "snapshot", []);
  await index(db, "snapshot", ["volume_id", "created_at", "id"]);
  await keyValues(db, "snapshot_metadata", "snapshot_id", "snapshot.id");
  await index(db, "snapshot_metadata", ["name", "value", "snapshot_id"]);
}

async function volumeTypes(db: Kysely<unknown>): Promise<void> {
  await keyed(db, "volume_type")
    .addColumn("name", "text", (c) => c.notNull().unique())
    .addColumn("description", "text")
    .addColumn("is_public", "integer", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
  await keyValues(db, "volume_type_extra_spec", "volume_type_id", "volume_type.id");
  await db.schema
    .createTable("volume_type_access")
    .addColumn("volume_type_id", "text", (c) => c.notNull().references("volume_type.id").onDelete("cascade"))
    .addColumn("project_id", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("volume_type_access_key", ["volume_type_id", "project_id"])
    .execute();
}

async function quotas(db: Kysely<unknown>): Promise<void> {
  for (const [table, column] of [
    ["quota", "limit_count"],
    ["quota_usage", "used"],
  ] as const) {
    await db.schema
      .createTable(table)
      .addColumn("project_id", "text", (c) => c.notNull())
      .addColumn("resource", "text", (c) => c.notNull())
      .addColumn(column, "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint(`${table}_key`, ["project_id", "resource"])
      .execute();
  }
  await keyed(db, "message")
    .addColumn("project_id", "text", (c) => c.notNull())
    .addColumn("request_id", "text", (c) => c.notNull())
    .addColumn("resource_type", "text", (c) => c.notNull())
    .addColumn("resource_id", "text", (c) => c.notNull())
    .addColumn("event_id", "text", (c) => c.notNull())
    .addColumn("detail_id", "text", (c) => c.notNull())
    .addColumn("action_id", "text", (c) => c.notNull())
    .addColumn("user_message", "text", (c) => c.notNull())
    .addColumn("message_level", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .execute();
  await index(db, "message", ["project_id", "created_at", "id"]);
  await index(db, "message", ["expires_at"]);
}

async function operations(db: Kysely<unknown>): Promise<void> {
  await keyed(db, "operation")
    .addColumn("saga", "text", (c) => c.notNull())
    .addColumn("params", "text", (c) => c.notNull())
    .addColumn("project_id", "text")
    .addColumn("user_id", "text")
    .addColumn("request_id", "text")
    .addColumn("subject_kind", "text", (c) => c.notNull())
    .addColumn("subject_id", "text", (c) => c.notNull())
    .addColumn("plan", "text")
    .addColumn("actual", "text")
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("step", "text")
    .addColumn("progress", "real", (c) => c.notNull())
    .addColumn("error_code", "text")
    .addColumn("error_message", "text")
    .addColumn("cancel_requested", "integer", (c) => c.notNull())
    .addColumn("lease_owner", "text")
    .addColumn("lease_until", "bigint", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .addColumn("ended_at", "bigint")
    .execute();
  await index(db, "operation", ["created_at", "id"]);
  await index(db, "operation", ["project_id", "created_at", "id"]);
  await index(db, "operation", ["subject_id"]);
  await sql`create index operation_open on operation (lease_until) where ended_at is null`.execute(db);

  await db.schema
    .createTable("journal")
    .addColumn("operation_id", "text", (c) => c.notNull().references("operation.id").onDelete("cascade"))
    .addColumn("sequence", "integer", (c) => c.notNull())
    .addColumn("step", "text", (c) => c.notNull())
    .addColumn("event", "text", (c) => c.notNull())
    .addColumn("because", "text")
    .addColumn("at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("journal_key", ["operation_id", "sequence"])
    .execute();
}

function keyed(db: Kysely<unknown>, table: string): CreateTableBuilder<string, "id"> {
  return db.schema.createTable(table).addColumn("id", "text", (c) => c.primaryKey());
}

async function keyValues(db: Kysely<unknown>, table: string, owner: string, references: string): Promise<void> {
  await db.schema
    .createTable(table)
    .addColumn(owner, "text", (c) => c.notNull().references(references).onDelete("cascade"))
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("value", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint(`${table}_key`, [owner, "name"] as never)
    .execute();
}

/**
 * For lists of one project, and of all: newest first, by name, by status, and what else they are sorted by. Every order ends in
 * (created_at, id), as `db/page.ts` makes it, so the same index serves a filter on the column and a sort by it.
 */
async function listIndexes(db: Kysely<unknown>, table: string, columns: string[]): Promise<void> {
  for (const scope of [[], ["project_id"]]) {
    await index(db, table, [...scope, "created_at", "id"]);
    for (const column of ["status", ...columns]) await index(db, table, [...scope, column, "created_at", "id"]);
    const byName = [...scope.map((column) => sql.ref(column)), sql`coalesce(name, '')`, sql.ref("created_at"), sql.ref("id")];
    const name = sql.id([table, ...scope, "name_created_at_id"].join("_"));
    await sql`create index ${name} on ${sql.table(table)} (${sql.join(byName)})`.execute(db);
  }
}

async function index(db: Kysely<unknown>, table: string, columns: string[]): Promise<void> {
  await db.schema
    .createIndex([table, ...columns].join("_"))
    .on(table)
    .columns(columns)
    .execute();
}

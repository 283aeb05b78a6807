import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await createFlavors(db);
  await insertClassicFlavors(db);
  await createKeypairs(db);
  await createHosts(db);
  await createAggregates(db);
}

async function createFlavors(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("flavor")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("name", "text", (c) => c.notNull().unique())
    .addColumn("description", "text")
    .addColumn("vcpus", "integer", (c) => c.notNull())
    .addColumn("ram_mib", "integer", (c) => c.notNull())
    .addColumn("disk_gib", "integer", (c) => c.notNull())
    .addColumn("ephemeral_gib", "integer", (c) => c.notNull())
    .addColumn("swap_mib", "integer", (c) => c.notNull())
    .addColumn("rxtx_factor", "real", (c) => c.notNull())
    .addColumn("is_public", "integer", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
  await createPairs(db, "flavor_extra_spec", "flavor_id", "flavor.id");
  await db.schema
    .createTable("flavor_access")
    .addColumn("flavor_id", "text", (c) => c.notNull().references("flavor.id").onDelete("cascade"))
    .addColumn("project_id", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("flavor_access_pk", ["flavor_id", "project_id"])
    .execute();
  await db.schema.createIndex("flavor_access_project").on("flavor_access").column("project_id").execute();
}

/** Nova's own from before Newton, and DevStack's smallest. They are made once: who deletes one does not get it again. */
async function insertClassicFlavors(db: Kysely<unknown>): Promise<void> {
  const now = Date.now();
  for (const [id, name, ramMib, diskGib, vcpus] of [
    ["1", "m1.tiny", 512, 1, 1],
    ["2", "m1.small", 2048, 20, 1],
    ["3", "m1.medium", 4096, 40, 2],
    ["4", "m1.large", 8192, 80, 4],
    ["5", "m1.xlarge", 16_384, 160, 8],
    ["42", "m1.nano", 192, 1, 1],
  ] as const) {
    await sql`insert into flavor (id, name, vcpus, ram_mib, disk_gib, ephemeral_gib, swap_mib, rxtx_factor, is_public, created_at, updated_at)
      values (${id}, ${name}, ${vcpus}, ${ramMib}, ${diskGib}, 0, 0, 1, 1, ${now}, ${now})`.execute(db);
  }
}

async function createKeypairs(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("keypair")
    .addColumn("id", "integer", (c) => c.primaryKey().autoIncrement())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("type", "text", (c) => c.notNull())
    .addColumn("fingerprint", "text", (c) => c.notNull())
    .addColumn("public_key", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addUniqueConstraint("keypair_name", ["user_id", "name"])
    .execute();
}

async function createHosts(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("compute_service")
    .addColumn("number", "integer", (c) => c.primaryKey().autoIncrement())
    .addColumn("id", "text", (c) => c.notNull().unique())
    .addColumn("host", "text", (c) => c.notNull().unique())
    .addColumn("disabled", "integer", (c) => c.notNull())
    .addColumn("disabled_reason", "text")
    .addColumn("forced_down", "integer", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
}

async function createAggregates(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("aggregate")
    .addColumn("id", "integer", (c) => c.primaryKey().autoIncrement())
    .addColumn("uuid", "text", (c) => c.notNull().unique())
    .addColumn("name", "text", (c) => c.notNull().unique())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .execute();
  await createPairs(db, "aggregate_metadata", "aggregate_id", "aggregate.id");
  await db.schema
    .createTable("aggregate_host")
    .addColumn("aggregate_id", "integer", (c) => c.notNull().references("aggregate.id").onDelete("cascade"))
    .addColumn("host", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("aggregate_host_pk", ["aggregate_id", "host"])
    .execute();
}

async function createPairs(db: Kysely<unknown>, table: string, owner: string, references: string): Promise<void> {
  await db.schema
    .createTable(table)
    .addColumn(owner, owner === "aggregate_id" ? "integer" : "text", (c) => c.notNull().references(references).onDelete("cascade"))
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("value", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint(`${table}_pk`, [owner, "name"])
    .execute();
}

import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await namedTable(db, "domain").addUniqueConstraint("domain_name", ["name"]).execute();
  await namedTable(db, "project")
    .addColumn("domain_id", "text", (c) => c.notNull().references("domain.id"))
    .addColumn("parent_id", "text")
    .addUniqueConstraint("project_name", ["domain_id", "name"])
    .execute();
  await namedTable(db, "role").addUniqueConstraint("role_name", ["name"]).execute();
  await users(db);
  await assignments(db);
  await applicationCredentials(db);
  await db.schema
    .createTable("revocation")
    .addColumn("audit_id", "text", (c) => c.primaryKey())
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .execute();
}

async function users(db: Kysely<unknown>): Promise<void> {
  await namedTable(db, "user")
    .addColumn("domain_id", "text", (c) => c.notNull().references("domain.id"))
    .addColumn("email", "text")
    .addColumn("default_project_id", "text")
    .addColumn("password_hash", "text", (c) => c.notNull())
    .addColumn("tokens_valid_from", "bigint", (c) => c.notNull())
    .addUniqueConstraint("user_name", ["domain_id", "name"])
    .execute();
}

async function assignments(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("role_assignment")
    .addColumn("user_id", "text", (c) => c.notNull().references("user.id").onDelete("cascade"))
    .addColumn("role_id", "text", (c) => c.notNull().references("role.id").onDelete("cascade"))
    .addColumn("project_id", "text", (c) => c.references("project.id").onDelete("cascade"))
    .addColumn("domain_id", "text", (c) => c.references("domain.id").onDelete("cascade"))
    .execute();
  // Nulls are distinct in a plain unique index, and every row has at least one.
  await sql`create unique index role_assignment_key on role_assignment
    (user_id, role_id, coalesce(project_id, ''), coalesce(domain_id, ''))`.execute(db);
  await db.schema.createIndex("role_assignment_project").on("role_assignment").column("project_id").execute();
  await db.schema.createIndex("role_assignment_user").on("role_assignment").columns(["user_id", "project_id"]).execute();
}

async function applicationCredentials(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("application_credential")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("user_id", "text", (c) => c.notNull().references("user.id").onDelete("cascade"))
    .addColumn("project_id", "text", (c) => c.notNull().references("project.id").onDelete("cascade"))
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("description", "text", (c) => c.notNull())
    .addColumn("secret_hash", "text", (c) => c.notNull())
    .addColumn("unrestricted", "integer", (c) => c.notNull())
    .addColumn("expires_at", "bigint")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addUniqueConstraint("application_credential_name", ["user_id", "name"])
    .execute();
  await db.schema
    .createTable("application_credential_role")
    .addColumn("application_credential_id", "text", (c) => c.notNull().references("application_credential.id").onDelete("cascade"))
    .addColumn("role_id", "text", (c) => c.notNull().references("role.id").onDelete("cascade"))
    .addPrimaryKeyConstraint("application_credential_role_key", ["application_credential_id", "role_id"])
    .execute();
}

function namedTable(db: Kysely<unknown>, table: string) {
  return db.schema
    .createTable(table)
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("description", "text")
    .addColumn("enabled", "integer", (c) => c.notNull().defaultTo(1));
}

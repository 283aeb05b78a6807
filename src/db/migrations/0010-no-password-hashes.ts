import type { Kysely } from "kysely";

/** Passwords of guests' administrators are in no record: the column was never used. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable("server").dropColumn("admin_password_hash").execute();
}

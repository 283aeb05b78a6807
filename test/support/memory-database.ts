import { Kysely } from "kysely";
import { type Database, upToDate } from "#/db/database.ts";
import { openSqlite, sqliteDialect } from "#/db/sqlite.ts";

let template: Promise<Uint8Array> | undefined;

/** A database of its own in memory. Its tables are made once for all that a process opens: to make them takes more than ten times as long as to copy them. */
export async function openMemoryDatabase(): Promise<Database> {
  const bytes = await (template ??= makeTemplate());
  const database = openSqlite(":memory:");
  database.deserialize(bytes);
  return new Kysely({ dialect: sqliteDialect(database) });
}

async function makeTemplate(): Promise<Uint8Array> {
  const database = openSqlite(":memory:");
  await using _ = await upToDate(database);
  return database.serialize();
}

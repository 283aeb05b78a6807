import type { DatabaseSync } from "node:sqlite";
import { Kysely } from "kysely";
import { Migrator } from "kysely/migration";
import * as core from "./migrations/0001-core.ts";
import * as identity from "./migrations/0002-identity.ts";
import * as pools from "./migrations/0003-pools.ts";
import * as flavors from "./migrations/0004-flavors.ts";
import * as servers from "./migrations/0005-servers.ts";
import * as serverGroups from "./migrations/0006-server-groups.ts";
import * as imageSnapshots from "./migrations/0007-image-snapshots.ts";
import * as captureBases from "./migrations/0008-capture-bases.ts";
import * as keptInstants from "./migrations/0009-kept-instants.ts";
import * as noPasswordHashes from "./migrations/0010-no-password-hashes.ts";
import * as imageForms from "./migrations/0011-image-forms.ts";
import { openSqlite, sqliteDialect } from "./sqlite.ts";
import type { Tables } from "./tables.ts";

/** The state of an installation. Inside `transaction()`, use the transaction it gives: it holds the one connection. */
export type Database = Kysely<Tables>;

const MIGRATIONS = {
  "0001-core": core,
  "0002-identity": identity,
  "0003-pools": pools,
  "0004-flavors": flavors,
  "0005-servers": servers,
  "0006-server-groups": serverGroups,
  "0007-image-snapshots": imageSnapshots,
  "0008-capture-bases": captureBases,
  "0009-kept-instants": keptInstants,
  "0010-no-password-hashes": noPasswordHashes,
  "0011-image-forms": imageForms,
};

/**
 * Opens the state in the file `path` (":memory:" for tests) and brings its tables up to date.
 * Throws where the file is of a newer version, or is no database.
 */
export async function openDatabase(path: string): Promise<Database> {
  return upToDate(openSqlite(path));
}

/** The same of one that is open. */
export async function upToDate(database: DatabaseSync): Promise<Database> {
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database) });
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const { error } = await migrator.migrateToLatest();
  if (error) throw new Error(`Cannot bring the database ${database.location() ?? ":memory:"} up to date`, { cause: error });
  return db;
}

/** Opens the state to look at it, beside a process that may be using it. */
export function openDatabaseReadOnly(path: string): Database {
  return new Kysely<Tables>({ dialect: sqliteDialect(openSqlite(path, { readOnly: true })) });
}

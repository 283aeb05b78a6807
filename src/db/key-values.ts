import { type Kysely, sql } from "kysely";
import type { Database } from "./database.ts";
import type { Tables } from "./tables.ts";

/** Names with values, as text. */
export type KeyValuePairs = Readonly<Record<string, string>>;

type KeyValueTableName = "volume_metadata" | "volume_image_metadata" | "snapshot_metadata" | "volume_type_extra_spec" | "image_property" | "server_metadata" | "flavor_extra_spec" | "aggregate_metadata";

/** The names with values that belong to the records of one kind: a table with the columns `<owner>`, name and value. */
export class KeyValues {
  readonly #table: KeyValueTableName;
  readonly #owner: string;

  constructor(table: KeyValueTableName, owner: string) {
    this.#table = table;
    this.#owner = owner;
  }

  async of(db: Database, ownerId: string): Promise<KeyValuePairs> {
    return (await this.ofAll(db, [ownerId])).get(ownerId) ?? {};
  }

  /** Those of all the records, in one query. Records without any are not in the answer. */
  async ofAll(db: Database, ownerIds: readonly string[]): Promise<Map<string, KeyValuePairs>> {
    const found = new Map<string, Record<string, string>>();
    if (ownerIds.length === 0) return found;
    const rows = await this.#rows(db).where(this.#owner, "in", ownerIds).orderBy("name").execute();
    for (const row of rows) found.getOrInsertComputed(String(row[this.#owner]), () => ({}))[String(row["name"])] = String(row["value"]);
    return found;
  }

  /** Adds the pairs; those of the same name get the new value. */
  async merge(trx: Database, ownerId: string, pairs: KeyValuePairs): Promise<void> {
    const rows = Object.entries(pairs).map(([name, value]) => ({ [this.#owner]: ownerId, name, value }));
    if (rows.length === 0) return;
    await anyTable(trx)
      .insertInto(this.#table)
      .values(rows)
      .onConflict((conflict) => conflict.columns([this.#owner, "name"]).doUpdateSet({ value: sql`excluded.value` }))
      .execute();
  }

  /** The pairs take the place of all that were there. */
  async replace(trx: Database, ownerId: string, pairs: KeyValuePairs): Promise<void> {
    await anyTable(trx).deleteFrom(this.#table).where(this.#owner, "=", ownerId).execute();
    await this.merge(trx, ownerId, pairs);
  }

  /** False where there was none of that name. */
  async remove(trx: Database, ownerId: string, name: string): Promise<boolean> {
    const { numDeletedRows } = await anyTable(trx)
      .deleteFrom(this.#table)
      .where(this.#owner, "=", ownerId)
      .where("name", "=", name)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** The owners that have all the pairs, as a subquery for a list's filter. */
  ownersOf(db: Database, name: string, value: string) {
    return anyTable(db).selectFrom(this.#table).select(this.#owner).where("name", "=", name).where("value", "=", value);
  }

  #rows(db: Database) {
    return anyTable(db).selectFrom(this.#table).selectAll();
  }
}

export const volumeMetadata = new KeyValues("volume_metadata", "volume_id");
export const volumeImageMetadata = new KeyValues("volume_image_metadata", "volume_id");
export const snapshotMetadata = new KeyValues("snapshot_metadata", "snapshot_id");
export const flavorExtraSpecs = new KeyValues("flavor_extra_spec", "flavor_id");
export const aggregateMetadata = new KeyValues("aggregate_metadata", "aggregate_id");
export const serverMetadata = new KeyValues("server_metadata", "server_id");
export const volumeTypeExtraSpecs = new KeyValues("volume_type_extra_spec", "volume_type_id");

/** The tables here have alike columns under different names, which Kysely's types cannot say. */
function anyTable(db: Database): Kysely<Record<keyof Tables, Record<string, unknown>>> {
  return db as unknown as Kysely<Record<keyof Tables, Record<string, unknown>>>;
}

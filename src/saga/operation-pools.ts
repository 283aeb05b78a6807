import type { Database } from "#/db/database.ts";
import type { OperationTable } from "#/db/tables.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";

/** The pools that an operation works on: those that it names, and those of every disk, volume, image and snapshot that it names. */
export async function poolsOf({ db, pools }: { readonly db: Database; readonly pools: Pools }, operation: OperationTable): Promise<Pool[]> {
  const words = wordsIn([JSON.parse(operation.params), JSON.parse(operation.plan ?? "null"), operation.subject_id]);
  const named = new Set([...words, ...(await poolsOfDisks(db, await disksOf(db, words)))]);
  return [...pools].filter(({ name }) => named.has(name));
}

/** Every text in a JSON value. */
function wordsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(wordsIn) : [];
}

/** The words may be ids of disks, or of records that hold one. */
async function disksOf(db: Database, words: readonly string[]): Promise<string[]> {
  const held = async (table: "volume" | "image" | "snapshot") => {
    const rows = await db.selectFrom(table).select("disk_id").where("id", "in", words).execute();
    return rows.flatMap(({ disk_id: id }) => id ?? []);
  };
  return [...words, ...(await held("volume")), ...(await held("image")), ...(await held("snapshot"))];
}

async function poolsOfDisks(db: Database, ids: readonly string[]): Promise<string[]> {
  const rows = await db.selectFrom("disk").select("pool").distinct().where("id", "in", ids).execute();
  return rows.map(({ pool }) => pool);
}

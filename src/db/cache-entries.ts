import type { PoolName } from "#/domain/ids.ts";
import type { Database } from "./database.ts";
import type { CacheEntryTable } from "./tables.ts";

export async function findCacheEntry(db: Database, imageId: string, pool: PoolName): Promise<CacheEntryTable | undefined> {
  return db.selectFrom("cache_entry").selectAll().where("image_id", "=", imageId).where("pool", "=", pool).executeTakeFirst();
}

/** True where the entry was not there: its filler is then `row.filled_by` alone. */
export async function insertCacheEntry(trx: Database, row: CacheEntryTable): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto("cache_entry")
    .values(row)
    .onConflict((conflict) => conflict.columns(["image_id", "pool"]).doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

export async function setCacheEntryReady(trx: Database, imageId: string, pool: PoolName, sizeBytes: number): Promise<void> {
  await trx.updateTable("cache_entry").set({ state: "ready", size_bytes: sizeBytes }).where("image_id", "=", imageId).where("pool", "=", pool).execute();
}

/** Counts a hit, so that the least recently used entry is known. */
export async function touchCacheEntry(db: Database, imageId: string, pool: PoolName, nowMs: number): Promise<void> {
  await db
    .updateTable("cache_entry")
    .set((eb) => ({ last_used_at: nowMs, hits: eb("hits", "+", 1) }))
    .where("image_id", "=", imageId)
    .where("pool", "=", pool)
    .execute();
}

export async function removeCacheEntry(trx: Database, imageId: string, pool: PoolName): Promise<void> {
  await trx.deleteFrom("cache_entry").where("image_id", "=", imageId).where("pool", "=", pool).execute();
}

export async function cacheEntriesOfImage(db: Database, imageId: string): Promise<CacheEntryTable[]> {
  return db.selectFrom("cache_entry").selectAll().where("image_id", "=", imageId).execute();
}

/** A pool's entries, those that are being filled too, least recently used first. */
export async function cacheEntriesOfPool(db: Database, pool: PoolName): Promise<CacheEntryTable[]> {
  return db
    .selectFrom("cache_entry")
    .selectAll()
    .where("pool", "=", pool)
    .orderBy("last_used_at")
    .execute();
}

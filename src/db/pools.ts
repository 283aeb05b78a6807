import type { Database } from "./database.ts";
import type { PoolTable } from "./tables.ts";

/** In the order in which they were added. */
export async function listPoolRows(db: Database): Promise<PoolTable[]> {
  return db.selectFrom("pool").selectAll().orderBy("created_at").orderBy("name").execute();
}

export async function findPoolRow(db: Database, name: string): Promise<PoolTable | undefined> {
  return db.selectFrom("pool").selectAll().where("name", "=", name).executeTakeFirst();
}

/** Changes what is known of the pool; a pool of which nothing was known gets its row. */
export async function savePool(trx: Database, name: string, changes: Partial<Omit<PoolTable, "name" | "created_at">>, nowMs: number): Promise<void> {
  await trx
    .insertInto("pool")
    .values({ name, config: null, drained: 0, space: null, created_at: nowMs, ...changes })
    .onConflict((conflict) => conflict.column("name").doUpdateSet(changes))
    .execute();
}

export async function removePoolRow(trx: Database, name: string): Promise<void> {
  await trx.deleteFrom("pool").where("name", "=", name).execute();
}

export async function countDisksIn(db: Database, pool: string): Promise<number> {
  const { count } = await db
    .selectFrom("disk")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("pool", "=", pool)
    .executeTakeFirstOrThrow();
  return count;
}

export async function hasDisksIn(db: Database, pool: string): Promise<boolean> {
  return (await db.selectFrom("disk").select("id").where("pool", "=", pool).limit(1).executeTakeFirst()) !== undefined;
}

/** How many volumes are about to get a disk in the pool. */
export async function countComingTo(db: Database, pool: string): Promise<number> {
  const { count } = await db
    .selectFrom("volume")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("pool", "=", pool)
    .where("status", "=", "creating")
    .where("disk_id", "is", null)
    .executeTakeFirstOrThrow();
  return count;
}

import type { HolderKind } from "#/domain/disk.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
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

/** How many disks of each holder are on record in the pool: "3 volumes, 1 snapshot". */
export async function holdersIn(db: Database, pool: string): Promise<{ readonly kind: HolderKind; readonly count: number }[]> {
  return db
    .selectFrom("disk")
    .select((eb) => ["holder_kind as kind", eb.fn.countAll<number>().as("count")])
    .where("pool", "=", pool)
    .groupBy("holder_kind")
    .orderBy("holder_kind")
    .execute();
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

/** The ready disks of the pool, with those that are likely to hold the same next to each other: an image, its cache entry and its volumes. */
export async function disksByLikeness(db: Database, pool: string): Promise<DiskId[]> {
  const rows = await db
    .selectFrom("disk")
    .leftJoin("volume", "volume.id", "disk.holder_id")
    .select("disk.id")
    .where("disk.pool", "=", pool)
    .where("disk.state", "=", "ready")
    .orderBy((eb) => eb.fn.coalesce("volume.image_id", "disk.holder_id"))
    .orderBy("disk.created_at")
    .execute();
  return rows.map(({ id }) => diskId(id));
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

import type { Database } from "#/db/database.ts";
import { poolUsage } from "#/db/disks.ts";
import { AppError } from "#/domain/errors.ts";
import type { PoolFacts, Room } from "#/planner/pool-facts.ts";
import type { Pool } from "#/storage/pool.ts";

/**
 * What is known of a pool now, for choosing among several and for showing it. A pool that cannot say its room is closed. Volumes are
 * counted only where somebody asks for `total_volumes`: in a large pool that takes a while.
 */
export async function poolFacts(db: Database, pool: Pool, asked: readonly (string | undefined)[]): Promise<PoolFacts> {
  const { name, kind, can, limits } = pool;
  const isAsked = [...asked, limits.filterFunction, limits.goodnessFunction].some((text) => text?.includes("total_volumes"));
  const known = { name, driver: kind, can, limits, volumes: isAsked ? await countVolumes(db, name) : undefined };
  try {
    const room = await roomOf(db, pool);
    return { ...known, room, closed: pool.closed };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { ...known, closed: pool.closed ?? error.message };
  }
}

/** Errors: `pool_unavailable`. */
export async function roomOf(db: Database, pool: Pool): Promise<Room> {
  return { ...(await pool.capacity()), ...(await poolUsage(db, pool.name)) };
}

async function countVolumes(db: Database, pool: string): Promise<number> {
  const { count } = await db
    .selectFrom("volume")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("pool", "=", pool)
    .executeTakeFirstOrThrow();
  return count;
}

import type { Database } from "#/db/database.ts";
import { poolUsage } from "#/db/disks.ts";
import { AppError } from "#/domain/errors.ts";
import type { PoolName } from "#/domain/ids.ts";
import { formatBytes } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";

/**
 * Runs `record` in a transaction that has made sure of `bytes` free in the pool beside all that is promised already, so
 * that two operations cannot count on the same space. `pool_full` where there is not enough.
 */
export async function reserveSpace(
  { db, pools }: Pick<SagaServices, "db" | "pools">,
  { pool: name }: { pool: PoolName },
  bytes: number,
  record: (trx: Database) => Promise<void>,
): Promise<void> {
  const pool = pools.get(name);
  const { totalBytes, freeBytes } = await pool.capacity();
  const keptBytes = (totalBytes * pool.limits.reservedPercentage) / 100;
  await db.transaction().execute(async (trx) => {
    const { reservedBytes } = await poolUsage(trx, name);
    const availableBytes = Math.floor(freeBytes - keptBytes - reservedBytes);
    if (bytes > 0 && bytes > availableBytes) {
      throw new AppError(
        "pool_full",
        `Pool "${name}" has ${formatBytes(Math.max(0, availableBytes))} free that are not promised to others, and ${formatBytes(bytes)} are needed.`,
      );
    }
    await record(trx);
  });
}

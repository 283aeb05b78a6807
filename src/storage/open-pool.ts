import { mkdir } from "node:fs/promises";
import type { Logger } from "pino";
import type { PoolConfig } from "#/config/schema.ts";
import { poolName } from "#/domain/ids.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { LimitedDriver } from "#/storage/wrap/limited.ts";
import { LoggedDriver } from "#/storage/wrap/logged.ts";
import { RetryingDriver } from "#/storage/wrap/retrying.ts";

/** A mount that comes back within seconds is waited for. */
const RETRIES = { attemptsMax: 3, delayMs: 200 };

/** Opens a configured pool: its driver in its wrappers. `create`: a folder that is not there is made. Errors: `pool_unavailable`, `pool_full`. */
export async function openPool(config: PoolConfig, { log, create }: { log: Logger; create: boolean }): Promise<Pool> {
  const { name, roles, concurrencyMax, bandwidthBytesPerSecondMax, ...limits } = config;
  const driver = await openDriver(config, create);
  log.info({ pool: name, driver: driver.kind, place: driver.can.place, clone: driver.can.clone, why: driver.can.why }, "pool opened");
  const wrapped = wrap(driver, { concurrencyMax, bytesPerSecondMax: bandwidthBytesPerSecondMax }, log.child({ pool: name }));
  return new Pool({ name: poolName(name), roles, driver: wrapped, limits: { ...limits, bandwidthBytesPerSecondMax } });
}

/** Each driver is loaded only where a pool has it. */
async function openDriver({ driver, path = "" }: PoolConfig, create: boolean): Promise<StorageDriver> {
  switch (driver) {
    case "file": {
      const { FileDriver } = await import("#/storage/file/driver.ts");
      if (create) await mkdir(path, { recursive: true, mode: 0o700 });
      return FileDriver.open(path);
    }
    default:
      throw new Error(`Broken invariant: there is no driver "${driver}"`);
  }
}

/** From the outside in: each try of a call waits for its turn, and is a line in the log. */
function wrap(driver: StorageDriver, limits: { concurrencyMax: number; bytesPerSecondMax: number }, log: Logger): StorageDriver {
  return new RetryingDriver(new LimitedDriver(new LoggedDriver(driver, log), limits), RETRIES);
}

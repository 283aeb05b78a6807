import type { Logger } from "pino";
import type { PoolConfig } from "#/config/schema.ts";
import { poolName } from "#/domain/ids.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { Pool, type PoolLimits } from "#/storage/pool.ts";
import { LimitedDriver, Limits } from "#/storage/wrap/limited.ts";
import { LoggedDriver } from "#/storage/wrap/logged.ts";
import { ReopeningDriver } from "#/storage/wrap/reopening.ts";
import { RetryingDriver } from "#/storage/wrap/retrying.ts";

/** A mount that comes back within seconds is waited for. */
const RETRIES = { attemptsMax: 3, delayMs: 200 };

interface OpenPoolOptions {
  readonly log: Logger;
  /** Whether no disks are on record in the pool: then its folder may be made, and may be empty. Asked before each opening. */
  readonly isNew: () => Promise<boolean>;
  readonly drained?: boolean;
}

/** Opens a pool: its driver in its wrappers. Never rejects because of the place: a pool that cannot be opened is down, and is tried again. */
export async function openPool(config: PoolConfig, { log, isNew, drained = false }: OpenPoolOptions): Promise<Pool> {
  const { name, driver: kind, roles, concurrencyMax, bandwidthBytesPerSecondMax } = config;
  const scope = log.child({ pool: name });
  const limits = new Limits({ concurrencyMax, bytesPerSecondMax: bandwidthBytesPerSecondMax });
  const open = async () => wrap(await openDriver(config, await isNew(), scope), limits, scope);
  const driver = await ReopeningDriver.open({ kind, open, log: scope });
  return new Pool({ name: poolName(name), roles, driver, health: driver, limits: limitsOf(config), drained });
}

/** Makes the place of a pool that is forgotten free for another name. Its disks, if any, stay. */
export async function releasePlace({ path, nfs }: PoolConfig): Promise<void> {
  if (path === undefined) return;
  const { releaseFolder } = await import("#/storage/file/marker.ts");
  for (const folder of [path, ...(nfs?.shares ?? [])]) await releaseFolder(folder);
}

/** Only what is no secret of the driver's. */
function limitsOf(config: PoolConfig): PoolLimits {
  const { overSubscriptionRatioMax, reservedPercentage, cloneDepthMax, cacheSizeBytesMax, cacheCountMax, ...rest } = config;
  const { imageUploadUseCinderBackend, imageUploadUseInternalTenant, bandwidthBytesPerSecondMax, filterFunction, goodnessFunction } = rest;
  const scheduling = { overSubscriptionRatioMax, reservedPercentage, filterFunction, goodnessFunction };
  const images = { imageUploadUseCinderBackend, imageUploadUseInternalTenant };
  const flattenFromSnapshot = config.rbd?.flattenVolumeFromSnapshot ?? false;
  return { ...scheduling, ...images, cloneDepthMax, flattenFromSnapshot, cacheSizeBytesMax, cacheCountMax, bandwidthBytesPerSecondMax, cacheCleaning: cacheCleaningOf(config) };
}

function cacheCleaningOf({ cacheCleanBelowPercentage, cacheCleanUntilPercentage, cacheIdleMsMin, cacheUnusedMsMax }: PoolConfig): PoolLimits["cacheCleaning"] {
  return { belowPercentage: cacheCleanBelowPercentage, untilPercentage: cacheCleanUntilPercentage, idleMsMin: cacheIdleMsMin, unusedMsMax: cacheUnusedMsMax };
}

/** Each driver is loaded only where a pool has it. */
async function openDriver({ name, driver, path = "", nfs, lvm, rbd, s3, http, worker }: PoolConfig, isNew: boolean, log: Logger): Promise<StorageDriver> {
  switch (driver) {
    case "file": {
      const { FileDriver } = await import("#/storage/file/driver.ts");
      const { claimFolder } = await import("#/storage/file/marker.ts");
      await claimFolder(path, { pool: name, isNew });
      return FileDriver.open(path);
    }
    case "nfs": {
      const { NfsDriver } = await import("#/storage/nfs/driver.ts");
      return NfsDriver.open(path, { ...nfs, claim: { pool: name, isNew } });
    }
    case "lvm": {
      const { LvmDriver } = await import("#/storage/lvm/driver.ts");
      return LvmDriver.open(given(lvm), { isNew });
    }
    case "rbd": {
      const { RbdDriver } = await import("#/storage/rbd/driver.ts");
      return RbdDriver.open(given(rbd));
    }
    case "s3": {
      const { S3Driver } = await import("#/storage/s3/driver.ts");
      return new S3Driver(given(s3), { log });
    }
    case "http": {
      const { HttpDriver } = await import("#/storage/http/driver.ts");
      return new HttpDriver(given(http), { log });
    }
    case "worker": {
      const { WorkerDriver } = await import("#/storage/worker/driver.ts");
      return WorkerDriver.open(given(worker));
    }
    default:
      throw new Error(`Broken invariant: there is no driver "${driver}"`);
  }
}

/** The driver's section, which the check of the configuration has asked for. */
function given<Section>(section: Section | undefined): Section {
  if (section === undefined) throw new Error("Broken invariant: the pool has no section for its driver");
  return section;
}

/** From the outside in: each try of a call waits for its turn, and is a line in the log. */
function wrap(driver: StorageDriver, limits: Limits, log: Logger): StorageDriver {
  return new RetryingDriver(new LimitedDriver(new LoggedDriver(driver, log), limits), RETRIES);
}

import { HOUR_MS } from "#/lib/units.ts";
import type { PoolLimits } from "#/storage/pool.ts";

/** What a pool of the configuration has where nothing is said. */
export const POOL_LIMITS: PoolLimits = {
  overSubscriptionRatioMax: 20,
  reservedPercentage: 0,
  cloneDepthMax: 5,
  cacheSizeBytesMax: 0,
  cacheCountMax: 0,
  cacheCleaning: { belowPercentage: 20, untilPercentage: 60, idleMsMin: 12 * HOUR_MS, unusedMsMax: 0 },
  bandwidthBytesPerSecondMax: 0,
  imageUploadUseCinderBackend: false,
  imageUploadUseInternalTenant: false,
};

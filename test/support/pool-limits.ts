import type { PoolLimits } from "#/storage/pool.ts";

/** What a pool of the configuration has where nothing is said. */
export const POOL_LIMITS: PoolLimits = {
  overSubscriptionRatioMax: 20,
  reservedPercentage: 0,
  cloneDepthMax: 5,
  cacheSizeBytesMax: 0,
  cacheCountMax: 0,
  bandwidthBytesPerSecondMax: 0,
};

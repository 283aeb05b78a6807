import { randomUUID } from "node:crypto";
import type { RbdConfig } from "#/config/pools/rbd.ts";
import { MiB, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { RbdDriver } from "#/storage/rbd/driver.ts";
import type { CephCluster } from "./ceph.ts";

/** Empty pools in a cluster: each is a namespace of its own, unless it says another. */
export interface RbdPools {
  open(options?: Partial<RbdConfig>): Promise<RbdDriver>;
  /** The Ceph pool itself, without a namespace. */
  openWhole(options?: Partial<RbdConfig>): Promise<RbdDriver>;
}

export function rbdPools(ceph: CephCluster): RbdPools {
  const configOf = (options: Partial<RbdConfig>): RbdConfig => ({ confPath: ceph.confPath, ...DEFAULTS, ...options });
  return {
    async open(options = {}) {
      if (options.namespace) return RbdDriver.open(configOf(options));
      const config = { ...configOf(options), namespace: randomUUID() };
      await ceph.rbd("namespace", "create", `${config.pool}/${config.namespace}`);
      return RbdDriver.open(config);
    },
    openWhole: async (options = {}) => RbdDriver.open(configOf(options)),
  };
}

const DEFAULTS = {
  pool: "volumes",
  user: "admin",
  cloneFormat: 2,
  flattenVolumeFromSnapshot: false,
  objectSizeBytes: 4 * MiB,
  deferredDeletion: false,
  deferredDeletionDelayMs: 0,
  deferredDeletionPurgeIntervalMs: MINUTE_MS,
  opTimeoutMs: 30 * SECOND_MS,
} as const;

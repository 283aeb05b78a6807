import type { PoolName } from "#/domain/ids.ts";
import type { Value } from "#/lib/expression.ts";
import { GiB } from "#/lib/units.ts";
import { VERSION } from "#/lib/version.ts";
import type { Capabilities } from "#/storage/driver.ts";

/** What is to be known of a pool to choose among several, gathered beforehand. Sizes in bytes. */
export interface PoolFacts {
  readonly name: PoolName;
  readonly driver: string;
  readonly can: Capabilities;
  /** Why it takes no new disks now: it is down, or drained. */
  readonly closed?: string | undefined;
  /** Undefined where it cannot be asked. */
  readonly room?: Room | undefined;
  /** Undefined where nobody counted them. */
  readonly volumes: number | undefined;
  readonly limits: SchedulingLimits;
}

export interface Room {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What its disks promise in all. */
  readonly provisionedBytes: number;
  /** Promised to operations that are filling disks now. */
  readonly reservedBytes: number;
  /** See `Capacity`. */
  readonly metadataPercent?: number;
}

export interface SchedulingLimits {
  readonly overSubscriptionRatioMax: number;
  readonly reservedPercentage: number;
  readonly filterFunction?: string | undefined;
  readonly goodnessFunction?: string | undefined;
}

/** What a pool says of itself in Cinder's words: for extra specs, for functions of pools, and for operators. What is not known is left out. */
export function capabilitiesOf({ name, driver, can, room, volumes, limits }: PoolFacts): Record<string, Value> {
  return {
    volume_backend_name: name,
    pool_name: name,
    vendor_name: "Mica",
    driver_version: VERSION,
    storage_protocol: PROTOCOLS[driver] ?? driver,
    driver,
    place: can.place,
    backend_state: room ? "up" : "down",
    ...(room && {
      total_capacity_gb: inGib(room.totalBytes),
      free_capacity_gb: inGib(room.freeBytes),
      provisioned_capacity_gb: inGib(room.provisionedBytes),
      allocated_capacity_gb: inGib(room.provisionedBytes),
    }),
    reserved_percentage: limits.reservedPercentage,
    max_over_subscription_ratio: limits.overSubscriptionRatioMax,
    ...(volumes !== undefined && { total_volumes: volumes }),
    thin_provisioning_support: can.sparse,
    thick_provisioning_support: !can.sparse,
    multiattach: false,
    QoS_support: false,
    replication_enabled: false,
    online_extend_support: false,
    consistencygroup_support: false,
    sparse_copy_volume: can.sparse,
    clone: can.clone,
    snapshot: can.snapshot,
    offload_copy: can.offloadCopy,
    dedup: can.dedup ?? false,
  };
}

/** The names that volume types in the wild have for them. */
const PROTOCOLS: Readonly<Record<string, string>> = { rbd: "ceph", worker: "nbd" };

/** What Cinder's driver filter calls the stats of a backend; `host` is the pool's, since each pool is a backend. */
export function statsOf(facts: PoolFacts): Record<string, Value | undefined> {
  const all = capabilitiesOf(facts);
  const same = ["volume_backend_name", "vendor_name", "driver_version", "storage_protocol", "QoS_support", "reserved_percentage"];
  const sizes = ["total_capacity_gb", "free_capacity_gb", "allocated_capacity_gb"];
  const picked = Object.fromEntries([...same, ...sizes].map((key) => [key, all[key]]));
  return { ...picked, host: `mica@${facts.name}#${facts.name}`, backend_id: `mica@${facts.name}#${facts.name}` };
}

/** What may still be promised: the pool as often as it may be promised, without what is promised and what is kept free (cinder/scheduler/sched_utils.py, thin). */
export function virtualFreeBytes({ totalBytes, freeBytes, provisionedBytes }: Room, { overSubscriptionRatioMax, reservedPercentage }: SchedulingLimits, isSparse: boolean): number {
  const keptBytes = (totalBytes * reservedPercentage) / 100;
  return isSparse ? totalBytes * overSubscriptionRatioMax - provisionedBytes - keptBytes : freeBytes - keptBytes;
}

/** To two digits, as schedulers and people read it. */
function inGib(bytes: number): number {
  return Math.round((bytes / GiB) * 100) / 100;
}

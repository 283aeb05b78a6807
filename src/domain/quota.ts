import { GiB } from "#/lib/units.ts";
import { AppError } from "./errors.ts";

/** Amounts by resource: `volumes`, `gigabytes`, `snapshots`, and the same with `_<volume type>`; `instances`, `cores`, `ram` (MiB). */
export type QuotaAmounts = Readonly<Record<string, number>>;

/** The resources that are counted for every volume type as well, under `<resource>_<type>`. */
export const TYPED_QUOTA_RESOURCES = ["volumes", "snapshots", "gigabytes"] as const;
/** All resources that have a limit, as Cinder's quota sets name them. There are no backups and groups here: their default limit is 0. */
export const QUOTA_RESOURCES = [...TYPED_QUOTA_RESOURCES, "per_volume_gigabytes", "backups", "backup_gigabytes", "groups"] as const;
export type QuotaResource = (typeof QUOTA_RESOURCES)[number];

/** The resources of servers, as Nova's quota sets name them. */
export const COMPUTE_QUOTA_RESOURCES = [
  "instances",
  "cores",
  "ram",
  "key_pairs",
  "metadata_items",
  "server_groups",
  "server_group_members",
  "injected_files",
  "injected_file_content_bytes",
  "injected_file_path_bytes",
] as const;
export type ComputeQuotaResource = (typeof COMPUTE_QUOTA_RESOURCES)[number];

/** Whose resources a quota set names: Block Storage's or Compute's. */
export type QuotaFamily = "volumes" | "servers";

export const UNLIMITED = -1;

/** What a server takes of its project's quota: a server, processors, and MiB of memory. */
export function serverQuota({ vcpus, ramMib }: { readonly vcpus: number; readonly ramMib: number }): Record<string, number> {
  return { instances: 1, cores: vcpus, ram: ramMib };
}

/** What a server group takes. */
export const SERVER_GROUP_QUOTA = { server_groups: 1 } as const;

/** What a volume of a type takes of its project's quota. Cinder counts each resource twice: in all, and by type. */
export function volumeQuota(sizeBytes: number, volumeType: string): Record<string, number> {
  return { volumes: 1, [`volumes_${volumeType}`]: 1, ...gigabyteQuota(sizeBytes, volumeType) };
}

/** A snapshot takes the size of its volume too (Cinder's `no_snapshot_gb_quota` = False). */
export function snapshotQuota(sizeBytes: number, volumeType: string): Record<string, number> {
  return { snapshots: 1, [`snapshots_${volumeType}`]: 1, ...gigabyteQuota(sizeBytes, volumeType) };
}

/** What a volume takes in addition when it grows by so many bytes. */
export function gigabyteQuota(sizeBytes: number, volumeType: string): Record<string, number> {
  const gigabytes = Math.ceil(sizeBytes / GiB);
  return { gigabytes, [`gigabytes_${volumeType}`]: gigabytes };
}

/** What a volume with snapshots takes of the limits of its type alone: this much moves when its type changes. */
export function typeQuota(volumeSizeBytes: number, snapshotSizesBytes: readonly number[], volumeType: string): Record<string, number> {
  const amounts = [
    volumeQuota(volumeSizeBytes, volumeType),
    ...snapshotSizesBytes.map((sizeBytes) => snapshotQuota(sizeBytes, volumeType)),
  ];
  const sum: Record<string, number> = {};
  for (const resource of TYPED_QUOTA_RESOURCES.map((name) => `${name}_${volumeType}`)) {
    sum[resource] = amounts.reduce((total, amount) => total + (amount[resource] ?? 0), 0);
  }
  return sum;
}

/** The same amounts, given back. */
export function giveBack(amounts: QuotaAmounts): Record<string, number> {
  return Object.fromEntries(Object.entries(amounts).map(([resource, amount]) => [resource, -amount]));
}

/**
 * Throws `quota_exceeded` where `wanted` would take the project beyond a limit, in Cinder's words (exception.py), and
 * `server_quota_exceeded` in Nova's for the resources of servers. Sizes are looked at first, as Cinder does.
 */
export function refuseOverQuota(wanted: QuotaAmounts, limitOf: (resource: string) => number, usedOf: (resource: string) => number): void {
  const bySizeFirst = Object.entries(wanted).toSorted(([a], [b]) => Number(isSize(b)) - Number(isSize(a)));
  for (const [resource, amount] of bySizeFirst) {
    const [limit, used] = [limitOf(resource), usedOf(resource)];
    if (limit !== UNLIMITED && used + amount > limit) throw overQuota(resource, { amount, limit, used });
  }
}

/** Throws `quota_exceeded` where one volume would be larger than its limit allows; in GiB, −1 for no limit. */
export function refuseLargerVolume(sizeGib: number, limitGib: number): void {
  if (limitGib === UNLIMITED || sizeGib <= limitGib) return;
  throw new AppError("quota_exceeded", `Requested volume size ${sizeGib}G is larger than maximum allowed limit ${limitGib}G.`);
}

const isSize = (resource: string): boolean => resource.startsWith("gigabytes");

const isCompute = (resource: string): boolean => COMPUTE_QUOTA_RESOURCES.includes(resource as ComputeQuotaResource);

function overQuota(resource: string, { amount, limit, used }: { amount: number; limit: number; used: number }): AppError {
  if (isCompute(resource)) {
    return new AppError("server_quota_exceeded", `Quota exceeded for ${resource}: Requested ${amount}, but already used ${used} of ${limit} ${resource}`);
  }
  return new AppError("quota_exceeded", overQuotaMessage(resource, { amount, limit, used }));
}

function overQuotaMessage(resource: string, { amount, limit, used }: { amount: number; limit: number; used: number }): string {
  if (isSize(resource)) {
    return `Requested volume or snapshot exceeds allowed ${resource} quota. Requested ${amount}G, quota is ${limit}G and ${used}G has been consumed.`;
  }
  const what = resource.startsWith("snapshots") ? "snapshots" : "volumes";
  return `Maximum number of ${what} allowed (${limit}) exceeded for quota '${resource}'.`;
}

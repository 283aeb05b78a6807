import type { QuotaStanding } from "#/app/quotas.ts";
import { type ComputeQuotaResource, UNLIMITED } from "#/domain/quota.ts";

/** Resources of the networks that Nova once had: without a limit, and none is used. */
const NETWORK_RESOURCES = ["fixed_ips", "floating_ips", "security_groups", "security_group_rules"] as const;
const FILE_RESOURCES: readonly string[] = [
  "injected_files",
  "injected_file_content_bytes",
  "injected_file_path_bytes",
] satisfies ComputeQuotaResource[];
const GROUP_RESOURCES: readonly string[] = ["server_groups", "server_group_members"] satisfies ComputeQuotaResource[];

/** Until 2.35 the networks' resources are shown, until 2.56 those of injected files. */
export function quotaSetView<T>(values: ReadonlyMap<string, T>, minor: number, unlimited: T): Record<string, T> {
  const shown = [...values].filter(([resource]) => minor < 57 || !FILE_RESOURCES.includes(resource));
  const networks = minor < 36 ? NETWORK_RESOURCES.map((resource) => [resource, unlimited] as const) : [];
  return Object.fromEntries([...shown, ...networks]);
}

/** Quota classes have server groups only from 2.50 on. */
export function quotaClassView(limits: ReadonlyMap<string, number>, minor: number): Record<string, number> {
  const values = new Map([...limits].filter(([resource]) => minor >= 50 || !GROUP_RESOURCES.includes(resource)));
  return quotaSetView(values, minor >= 50 ? minor : Math.min(minor, 35), UNLIMITED);
}

export const limitsOf = (standing: ReadonlyMap<string, QuotaStanding>): Map<string, number> =>
  new Map([...standing].map(([resource, { limit }]) => [resource, limit]));

export interface QuotaDetail {
  readonly limit: number;
  readonly in_use: number;
  readonly reserved: number;
}

export const detailsOf = (standing: ReadonlyMap<string, QuotaStanding>): Map<string, QuotaDetail> =>
  new Map([...standing].map(([resource, { limit, used }]) => [resource, { limit, in_use: used, reserved: 0 }]));

/** nova/api/openstack/compute/views/limits.py. */
export function absoluteLimitsView(standing: ReadonlyMap<string, QuotaStanding>, minor: number): object {
  const limit = (resource: ComputeQuotaResource) => standing.get(resource)?.limit ?? 0;
  const used = (resource: ComputeQuotaResource) => standing.get(resource)?.used ?? 0;
  return {
    maxTotalInstances: limit("instances"),
    maxTotalCores: limit("cores"),
    maxTotalRAMSize: limit("ram"),
    maxTotalKeypairs: limit("key_pairs"),
    maxServerMeta: limit("metadata_items"),
    maxServerGroups: limit("server_groups"),
    maxServerGroupMembers: limit("server_group_members"),
    totalInstancesUsed: used("instances"),
    totalCoresUsed: used("cores"),
    totalRAMUsed: used("ram"),
    totalServerGroupsUsed: used("server_groups"),
    ...(minor < 36 && {
      maxSecurityGroups: UNLIMITED,
      maxSecurityGroupRules: UNLIMITED,
      maxTotalFloatingIps: UNLIMITED,
      totalFloatingIpsUsed: 0,
      totalSecurityGroupsUsed: 0,
    }),
    ...(minor < 39 && { maxImageMeta: limit("metadata_items") }),
    ...(minor < 57 && { maxPersonality: limit("injected_files"), maxPersonalitySize: limit("injected_file_content_bytes") }),
  };
}

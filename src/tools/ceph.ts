import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { accessArguments, type RbdAccess } from "#/tools/rbd.ts";
import { run } from "#/tools/run.ts";

/** Ceph's `ceph` and `ceph-conf` (16.2), as far as RBD does not tell. */

export interface PoolSpace {
  readonly storedBytes: number;
  /** What more can be stored, copies and unevenness taken into account. */
  readonly availableBytes: number;
  /** Undefined where there is none. */
  readonly quotaBytes: number | undefined;
}

/** The space of a pool. Costs some 300 ms. */
export async function poolSpace(access: RbdAccess, pool: string): Promise<PoolSpace> {
  const { stdout } = await run("ceph", [...accessArguments(access), "df", "detail", "--format", "json"], { timeoutMs: limitMs(access) });
  const { pools } = JSON.parse(stdout) as { pools: { name: string; stats: Record<string, number> }[] };
  const stats = pools.find(({ name }) => name === pool)?.stats;
  if (!stats) throw new AppError("pool_unavailable", `the Ceph cluster has no pool "${pool}"`);
  return { storedBytes: stats["stored"] ?? 0, availableBytes: stats["max_avail"] ?? 0, quotaBytes: stats["quota_bytes"] || undefined };
}

/** The cluster's id: from ceph.conf, else from the monitor. */
export async function clusterId(access: RbdAccess): Promise<string> {
  const known = await settingOf(access, ["--lookup", "fsid"]).catch(() => "");
  if (known) return known;
  return (await run("ceph", [...accessArguments(access), "fsid"], { timeoutMs: limitMs(access) })).stdout.trim();
}

/** The files in which Ceph looks for the user's key, in order. */
export async function keyringPaths(access: RbdAccess): Promise<string[]> {
  return (await settingOf(access, ["--show-config-value", "keyring"])).split(",").filter(Boolean);
}

async function settingOf({ confPath, user }: RbdAccess, what: readonly string[]): Promise<string> {
  const { stdout } = await run("ceph-conf", ["--conf", confPath, "--name", `client.${user}`, ...what], { timeoutMs: 10 * SECOND_MS });
  return stdout.trim();
}

function limitMs({ opTimeoutMs }: RbdAccess): number {
  return 2 * opTimeoutMs + 10 * SECOND_MS;
}

import { type Expression, ExpressionError, parseExpression } from "#/lib/expression.ts";

/** What a pool's `filterFunction` and `goodnessFunction` may name, beside `extra.*` (extra specs) and `qos.*`, which are the operator's own. */
export const POOL_FUNCTION_NAMES = {
  /** What Cinder's driver filter has of a backend (cinder/scheduler/filters/driver_filter.py). */
  stats: [
    "host",
    "backend_id",
    "volume_backend_name",
    "vendor_name",
    "driver_version",
    "storage_protocol",
    "QoS_support",
    "total_capacity_gb",
    "allocated_capacity_gb",
    "free_capacity_gb",
    "reserved_percentage",
  ],
  capabilities: [
    "volume_backend_name",
    "pool_name",
    "vendor_name",
    "driver_version",
    "storage_protocol",
    "driver",
    "place",
    "backend_state",
    "total_capacity_gb",
    "free_capacity_gb",
    "provisioned_capacity_gb",
    "allocated_capacity_gb",
    "reserved_percentage",
    "max_over_subscription_ratio",
    "total_volumes",
    "thin_provisioning_support",
    "thick_provisioning_support",
    "multiattach",
    "QoS_support",
    "replication_enabled",
    "online_extend_support",
    "consistencygroup_support",
    "sparse_copy_volume",
    "clone",
    "snapshot",
    "offload_copy",
    "dedup",
  ],
  volume: ["size", "source", "image_id", "snapshot_id", "source_volid", "volume_type"],
} as const;

/** Reads a function of a pool. Throws `ExpressionError` where it cannot be read, or names what no pool has. */
export function parsePoolFunction(text: string): Expression {
  const expression = parseExpression(text);
  for (const name of expression.names) refuseUnknown(name);
  return expression;
}

function refuseUnknown(name: string): void {
  const [space = "", key = ""] = name.split(".");
  if (space === "extra" || space === "qos") return;
  const known: Readonly<Record<string, readonly string[]>> = POOL_FUNCTION_NAMES;
  const names = Object.hasOwn(known, space) ? known[space] : undefined;
  if (!names) throw new ExpressionError(`there is no ${name}: names begin with stats, capabilities, volume, extra or qos`);
  if (!names.includes(key)) throw new ExpressionError(`there is no ${name}: ${space} has ${names.join(", ")}`);
}

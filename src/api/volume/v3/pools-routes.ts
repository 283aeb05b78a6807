import Type from "typebox";
import type { Server } from "#/api/server.ts";
import type { VolumePool } from "#/app/volume-services.ts";
import { AppError } from "#/domain/errors.ts";
import { VERSION } from "#/lib/version.ts";
import { backendOf, hostOf } from "./hosts.ts";
import { ListQuery } from "./list-query.ts";
import type { VolumeApi } from "./volume-api.ts";
import { timeView } from "./time.ts";

/** The filters that a list of pools has, for `GET /resource_filters`. */
export const POOL_FILTERS = ["name"] as const;

/** What pools have and can do, for operators. */
export function addPoolRoutes(app: Server, { volumeServices, clock }: VolumeApi): void {
  app.get("/scheduler-stats/get_pools", async (request) => {
    const query = new ListQuery(request.query);
    const detail = query.takeFlag("detail") ?? false;
    const name = request.microversion >= 28 ? query.take("name") : undefined;
    const pools = (await volumeServices.pools(request.caller)).filter((pool) => (name ?? hostOf(pool.name)) === hostOf(pool.name));
    return {
      pools: pools.map((pool) => ({ name: hostOf(pool.name), ...(detail && { capabilities: capabilitiesView(pool, clock.nowMs()) }) })),
    };
  });

  app.get("/capabilities/:host", { schema: { params: Type.Object({ host: Type.String() }) } }, async ({ caller, params }) => {
    const pool = await volumeServices.pool(caller, poolNameOf(params.host));
    return {
      namespace: `OS::Storage::Capabilities::${backendOf(pool.name)}`,
      vendor_name: "Mica",
      volume_backend_name: pool.name,
      pool_name: pool.name,
      driver_version: VERSION,
      storage_protocol: String(pool.capabilities["storage_protocol"]),
      display_name: pool.name,
      description: `Disks in a pool of the driver "${pool.driver}"`,
      visibility: "public",
      replication_targets: [],
      properties: propertiesView(pool),
    };
  });
}

function capabilitiesView({ capabilities, limits }: VolumePool, nowMs: number): object {
  const unknown = { total_capacity_gb: "unknown", free_capacity_gb: "unknown", provisioned_capacity_gb: "unknown", allocated_capacity_gb: "unknown" };
  return {
    ...unknown,
    ...capabilities,
    max_over_subscription_ratio: String(limits.overSubscriptionRatioMax),
    filter_function: limits.filterFunction ?? null,
    goodness_function: limits.goodnessFunction ?? null,
    timestamp: timeView(nowMs),
    updated: timeView(nowMs),
  };
}

/** What a volume type may count on here, and why not where it may not. */
function propertiesView({ can }: VolumePool): object {
  const properties = [
    ["clone", "Clones in constant time", can.clone !== "none"],
    ["snapshot", "Snapshots in constant time", can.snapshot],
    ["offloadCopy", "Copies without bytes through us", can.offloadCopy],
    ["sparse", "Thin provisioning", can.sparse],
    ["dedup", "Sharing of blocks that disks hold alike", can.dedup ?? false],
  ] as const;
  return Object.fromEntries(
    properties.map(([name, title, able]) => [name, { title, description: can.why[name] ?? title, type: "boolean", default: able }]),
  );
}

/** `mica@local#local` or `mica@local` → `local`. */
function poolNameOf(host: string): string {
  const name = /^[^@#]+@([^@#]+)(?:#[^@#]+)?$/.exec(host)?.[1];
  if (name === undefined) throw new AppError("not_found", `There is no host "${host}": hosts are named like mica@POOL.`);
  return name;
}

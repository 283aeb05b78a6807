import Type from "typebox";
import type { Server } from "#/api/server.ts";
import type { VolumePool } from "#/app/volume-services.ts";
import { AppError } from "#/domain/errors.ts";
import { GiB } from "#/lib/units.ts";
import { VERSION } from "#/lib/version.ts";
import { backendOf, hostOf } from "./hosts.ts";
import { ListQuery } from "./list-query.ts";
import type { VolumeApi } from "./routes.ts";
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
      storage_protocol: pool.driver,
      display_name: pool.name,
      description: `Disks in a pool of the driver "${pool.driver}"`,
      visibility: "public",
      replication_targets: [],
      properties: propertiesView(pool),
    };
  });
}

function capabilitiesView(pool: VolumePool, nowMs: number): object {
  const { capacity, limits } = pool;
  return {
    volume_backend_name: pool.name,
    vendor_name: "Mica",
    driver_version: VERSION,
    storage_protocol: pool.driver,
    backend_state: pool.state,
    timestamp: timeView(nowMs),
    updated: timeView(nowMs),
    total_capacity_gb: gib(capacity?.totalBytes),
    free_capacity_gb: gib(capacity?.freeBytes),
    provisioned_capacity_gb: gib(capacity?.provisionedBytes),
    allocated_capacity_gb: gib(capacity?.provisionedBytes),
    reserved_percentage: limits.reservedPercentage,
    max_over_subscription_ratio: String(limits.overSubscriptionRatioMax),
    thin_provisioning_support: pool.can.sparse,
    thick_provisioning_support: !pool.can.sparse,
    multiattach: false,
    QoS_support: false,
    replication_enabled: false,
    online_extend_support: false,
  };
}

/** What a volume type may count on here, and why not where it may not. */
function propertiesView({ can }: VolumePool): object {
  const properties = [
    ["clone", "Clones in constant time", can.clone !== "none"],
    ["snapshot", "Snapshots in constant time", can.snapshot],
    ["offloadCopy", "Copies without bytes through us", can.offloadCopy],
    ["sparse", "Thin provisioning", can.sparse],
  ] as const;
  return Object.fromEntries(
    properties.map(([name, title, able]) => [name, { title, description: can.why[name] ?? title, type: "boolean", default: able }]),
  );
}

/** GiB to two digits, as schedulers and people read it. */
function gib(bytes: number | undefined): number | "unknown" {
  return bytes === undefined ? "unknown" : Math.round((bytes / GiB) * 100) / 100;
}

/** `mica@local#local` or `mica@local` → `local`. */
function poolNameOf(host: string): string {
  const name = /^[^@#]+@([^@#]+)(?:#[^@#]+)?$/.exec(host)?.[1];
  if (name === undefined) throw new AppError("not_found", `There is no host "${host}": hosts are named like mica@POOL.`);
  return name;
}

import type { Server } from "#/api/server.ts";
import { requireRole } from "#/domain/caller.ts";
import { ListQuery } from "./list-query.ts";
import { backendOf, SERVICE_HOST } from "./hosts.ts";
import type { VolumeApi } from "./volume-api.ts";
import { timeView } from "./time.ts";

/**
 * The services that do the work, under the names that operators' tools look for: one that chooses pools, and one for each
 * pool, which is down where the pool can't be reached.
 */
export function addServiceRoutes(app: Server, api: VolumeApi): void {
  app.get("/os-services", async (request) => {
    const query = new ListQuery(request.query);
    const [host, binary] = [query.take("host"), query.take("binary") ?? query.take("service")];
    const pools = await api.volumeServices.pools(request.caller);
    const all = [
      { binary: "cinder-scheduler", host: SERVICE_HOST, isUp: true, drained: false },
      ...pools.map(({ name, isUp, drained }) => ({ binary: "cinder-volume", host: backendOf(name), isUp, drained })),
    ];
    const asked = all.filter((service) => (host ?? service.host) === service.host && (binary ?? service.binary) === service.binary);
    return { services: asked.map((service) => serviceView(service, request.microversion, api)) };
  });

  app.get("/os-availability-zone", async ({ caller }) => {
    requireRole(caller, "reader", "see availability zones");
    return { availabilityZoneInfo: [{ zoneName: api.availabilityZone, zoneState: { available: true } }] };
  });
}

function serviceView(
  { binary, host, isUp, drained }: { binary: string; host: string; isUp: boolean; drained: boolean },
  minor: number,
  { clock, availabilityZone }: VolumeApi,
): object {
  const isVolume = binary === "cinder-volume";
  return {
    binary,
    host,
    zone: availabilityZone,
    status: drained ? "disabled" : "enabled",
    state: isUp ? "up" : "down",
    updated_at: timeView(clock.nowMs()),
    disabled_reason: drained ? "The pool is drained." : null,
    ...(isVolume && { replication_status: "disabled", active_backend_id: null, frozen: false }),
    ...(minor >= 7 && { cluster: null }),
    ...(minor >= 49 && isVolume && { backend_state: isUp ? "up" : "down" }),
  };
}

import Type from "typebox";
import { parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { ComputeHost, ServiceChanges } from "#/app/compute-hosts.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { Flag, flag, IdParams, strict } from "./fields.ts";
import { BINARY, serviceView, statusView } from "./hosts-view.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";
import { preciseTimeView } from "./time.ts";

const Reason = Type.String({ minLength: 1, maxLength: 255 });
const NAMED = { host: Type.String({ minLength: 1 }), binary: Type.String({ minLength: 1 }) };
const parseNamed = parserOf(strict(NAMED));
const parseWithReason = parserOf(strict({ ...NAMED, disabled_reason: Reason }));
const parseForced = parserOf(strict({ ...NAMED, forced_down: Flag }));
const parseUpdate = parserOf(
  Type.Object(
    { status: Type.Optional(Type.Enum(["enabled", "disabled"])), disabled_reason: Type.Optional(Reason), forced_down: Type.Optional(Flag) },
    { additionalProperties: false, minProperties: 1 },
  ),
);

/** What runs servers on each host, under the name that operators' tools look for. */
export function addServiceRoutes(app: Server, api: ComputeApi): void {
  const { hosts, clock } = api;

  app.get("/os-services", async ({ caller, query, microversion }) => {
    const asked = new Query(query);
    const [host, binary] = [asked.take("host"), asked.take("binary")];
    asked.refuseRest(microversion, STRICT_QUERIES_SINCE);
    const all = await hosts.list(caller);
    const found = all.filter(({ service }) => (host ?? service.host) === service.host && (binary ?? BINARY) === BINARY);
    return { services: found.map((each) => serviceView(each, microversion, clock.nowMs())) };
  });

  app.put("/os-services/:id", { schema: { params: IdParams } }, async ({ caller, params, body, microversion }) => {
    if (microversion < 53) return { service: await changeNamed(api, caller, params.id, body, microversion) };
    const changed = await hosts.change(caller, await findService(api, caller, params.id), changesIn(body));
    return { service: serviceView(changed, microversion, clock.nowMs()) };
  });

  app.delete("/os-services/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await hosts.remove(caller, await findService(api, caller, params.id));
    return reply.code(204).send();
  });
}

export function addZoneRoutes(app: Server, { hosts, clock }: ComputeApi): void {
  app.get("/os-availability-zone", async ({ caller }) => {
    const zones = await hosts.zones(caller);
    return { availabilityZoneInfo: [...zones].map(([zone, members]) => ({ ...zoneView(zone, members), hosts: null })) };
  });

  app.get("/os-availability-zone/detail", async ({ caller }) => {
    requireRole(caller, "admin", "see the hosts of availability zones");
    const zones = await hosts.zones(caller);
    const hostView = (host: ComputeHost) => ({
      [BINARY]: { available: host.isUp, active: host.service.disabled === 0, updated_at: preciseTimeView(host.isUp ? clock.nowMs() : host.service.updated_at) },
    });
    const detail = ([zone, members]: [string, ComputeHost[]]) => ({
      ...zoneView(zone, members),
      hosts: Object.fromEntries(members.map((host) => [host.service.host, hostView(host)])),
    });
    return { availabilityZoneInfo: [...zones].map(detail) };
  });
}

function zoneView(zoneName: string, members: readonly ComputeHost[]): object {
  return { zoneName, zoneState: { available: members.some(({ service }) => service.disabled === 0) } };
}

/** Up to 2.52 the path says what to do, and the body to whom. */
async function changeNamed(api: ComputeApi, caller: Caller, what: string, body: unknown, minor: number): Promise<object> {
  const change = Object.hasOwn(NAMED_CHANGES, what) ? NAMED_CHANGES[what] : undefined;
  if (!change || (what === "force-down" && minor < 11)) throw new AppError("not_found", "Unknown action");
  const { host, binary, changes, shows } = change(body);
  const found = binary === BINARY ? await api.hosts.findByName(caller, host) : undefined;
  if (!found) throw new AppError("not_found", `Could not find binary ${binary} on host ${host}.`);
  const changed = await api.hosts.change(caller, found, changes);
  return { host, binary, ...shows(changed) };
}

interface NamedChange {
  readonly host: string;
  readonly binary: string;
  readonly changes: ServiceChanges;
  readonly shows: (host: ComputeHost) => object;
}

const NAMED_CHANGES: Readonly<Record<string, (body: unknown) => NamedChange>> = {
  enable: (body) => ({ ...parseNamed(body), changes: { disabled: false }, shows: (host) => ({ status: statusView(host) }) }),
  disable: (body) => ({ ...parseNamed(body), changes: { disabled: true }, shows: (host) => ({ status: statusView(host) }) }),
  "disable-log-reason": (body) => {
    const { disabled_reason, ...named } = parseWithReason(body);
    const shows = (host: ComputeHost) => ({ status: statusView(host), disabled_reason: host.service.disabled_reason });
    return { ...named, changes: { disabled: true, disabledReason: disabled_reason }, shows };
  },
  "force-down": (body) => {
    const { forced_down, ...named } = parseForced(body);
    return { ...named, changes: { forcedDown: flag(forced_down) }, shows: (host) => ({ forced_down: host.service.forced_down === 1 }) };
  },
};

function changesIn(body: unknown): ServiceChanges {
  const { status, disabled_reason, forced_down } = parseUpdate(body);
  if (disabled_reason !== undefined && status !== "disabled") {
    throw new AppError("bad_request", 'Specifying disabled_reason requires status to be "disabled".');
  }
  return {
    disabled: status === undefined ? undefined : status === "disabled",
    disabledReason: disabled_reason,
    forcedDown: forced_down === undefined ? undefined : flag(forced_down),
  };
}

async function findService({ hosts }: ComputeApi, caller: Caller, id: string): Promise<ComputeHost> {
  const host = await hosts.find(caller, id);
  if (!host) throw new AppError("not_found", `Service ${id} not found.`);
  return host;
}

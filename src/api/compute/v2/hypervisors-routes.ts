import type { FastifyRequest } from "fastify";
import Type from "typebox";
import type { Server } from "#/api/server.ts";
import type { ComputeHost } from "#/app/compute-hosts.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { IdParams } from "./fields.ts";
import { hostId, hypervisorDetailView, hypervisorHostname, hypervisorView, resourcesView } from "./hosts-view.ts";
import { machineNow } from "./machine.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";

const PatternParams = Type.Object({ pattern: Type.String() });

type View = (host: ComputeHost, minor: number) => Promise<object>;

export function addHypervisorRoutes(app: Server, api: ComputeApi): void {
  const { hosts } = api;
  const summary: View = async (host, minor) => hypervisorView(host, minor);
  const detail: View = async (host, minor) => hypervisorDetailView(host, await hosts.room(host.service.host), machineNow(api.clock.nowMs()), minor);

  app.get("/os-hypervisors", async (request) => listHypervisors(api, request, summary));
  app.get("/os-hypervisors/detail", async (request) => listHypervisors(api, request, detail));

  app.get("/os-hypervisors/statistics", { config: { until: 87 } }, async ({ caller }) => {
    const all = await Promise.all((await hosts.list(caller)).map(async (host) => resourcesView(host, await hosts.room(host.service.host))));
    const names = Object.keys(all[0] ?? {}) as (keyof ReturnType<typeof resourcesView>)[];
    const sums = names.map((name) => [name, all.reduce((sum, each) => sum + each[name], 0)] as const);
    return { hypervisor_statistics: { count: all.length, ...Object.fromEntries(sums) } };
  });

  app.get("/os-hypervisors/:id", { schema: { params: IdParams } }, async ({ caller, params, query, microversion }) => {
    const host = await findHypervisor(api, caller, params.id);
    const withServers = takeWithServers(new Query(query), microversion);
    return { hypervisor: { ...(await detail(host, microversion)), ...(withServers && (await serversOf(api, host))) } };
  });

  app.get("/os-hypervisors/:id/uptime", { config: { until: 87 }, schema: { params: IdParams } }, async ({ caller, params, microversion }) => {
    const host = await findHypervisor(api, caller, params.id);
    if (!host.isUp) throw new AppError("bad_request", `Compute service of ${host.service.host} is unavailable at this time.`);
    return { hypervisor: { ...hypervisorView(host, microversion), uptime: machineNow(api.clock.nowMs()).uptime } };
  });

  app.get("/os-hypervisors/:pattern/search", { config: { until: 52 }, schema: { params: PatternParams } }, async ({ caller, params, microversion }) => {
    const found = matching(await hosts.list(caller), params.pattern);
    return { hypervisors: found.map((host) => hypervisorView(host, microversion)) };
  });

  app.get("/os-hypervisors/:pattern/servers", { config: { until: 52 }, schema: { params: PatternParams } }, async ({ caller, params, microversion }) => {
    const found = matching(await hosts.list(caller), params.pattern);
    return { hypervisors: await Promise.all(found.map(async (host) => ({ ...hypervisorView(host, microversion), ...(await serversOf(api, host)) }))) };
  });
}

async function listHypervisors(api: ComputeApi, request: FastifyRequest, view: View): Promise<object> {
  const { caller, microversion } = request;
  const query = new Query(request.query);
  const withServers = takeWithServers(query, microversion);
  const pattern = microversion >= 53 ? query.take("hypervisor_hostname_pattern") : undefined;
  const page = microversion >= 33 ? query.takePage(api.limitMax) : { limit: api.limitMax, marker: undefined };
  query.refuseRest(microversion, STRICT_QUERIES_SINCE);
  const all = await api.hosts.list(caller);
  const { records, more } = pageOf(pattern === undefined ? all : matching(all, pattern), page, microversion);
  const links = api.viewers.of(request).nextLinks(more ? String(hostId(records.at(-1) as ComputeHost, microversion)) : undefined);
  const show = async (host: ComputeHost) => ({ ...(await view(host, microversion)), ...(withServers && (await serversOf(api, host))) });
  return { hypervisors: await Promise.all(records.map(show)), ...(links && { hypervisors_links: links }) };
}

function pageOf(all: readonly ComputeHost[], { limit, marker }: { limit: number; marker: string | undefined }, minor: number) {
  const place = marker === undefined ? -1 : all.findIndex((host) => String(hostId(host, minor)) === marker);
  if (marker !== undefined && place < 0) throw new AppError("bad_request", `marker [${marker}] not found`);
  const rest = all.slice(place + 1);
  return { records: rest.slice(0, limit), more: limit > 0 && rest.length > limit };
}

function takeWithServers(query: Query, minor: number): boolean {
  return minor >= 53 && (query.takeFlag("with_servers") ?? false);
}

function matching(all: readonly ComputeHost[], pattern: string): ComputeHost[] {
  const found = all.filter((host) => hypervisorHostname(host).includes(pattern));
  if (found.length === 0) throw new AppError("not_found", `No hypervisor matching '${pattern}' could be found.`);
  return found;
}

async function serversOf({ hosts }: ComputeApi, { service }: ComputeHost): Promise<object> {
  return { servers: (await hosts.servers(service.host)).map(({ id, name }) => ({ uuid: id, name })) };
}

async function findHypervisor({ hosts }: ComputeApi, caller: Caller, id: string): Promise<ComputeHost> {
  const host = await hosts.find(caller, id);
  if (!host) throw new AppError("not_found", `Hypervisor with ID '${id}' could not be found.`);
  return host;
}

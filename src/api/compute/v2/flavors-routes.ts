import type { FastifyRequest } from "fastify";
import { oneAction, parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { FlavorListRequest, NewFlavor } from "#/app/flavors.ts";
import type { KeyValuePairs } from "#/db/key-values.ts";
import { AppError } from "#/domain/errors.ts";
import { flavorSpecNotFound } from "#/domain/flavor.ts";
import { flag, IdKeyParams, IdParams, onePair } from "./fields.ts";
import { DescribeFlavor, FlavorSpecBody, FlavorSpecsBody, type NewFlavorBody, parseCreateFlavor, TenantAccess } from "./flavors-schema.ts";
import { flavorPageView, flavorSummaryView, flavorView } from "./flavors-view.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";

export function addFlavorRoutes(app: Server, api: ComputeApi): void {
  const { flavors, viewers } = api;

  app.get("/flavors", async (request) => listFlavors(api, request, flavorSummaryView));
  app.get("/flavors/detail", async (request) => listFlavors(api, request, flavorView));

  app.post("/flavors", async (request) => {
    const body = parseCreateFlavor(request.microversion, request.body);
    return { flavor: flavorView(await flavors.create(request.caller, newFlavor(body)), viewers.of(request)) };
  });

  app.get("/flavors/:id", { schema: { params: IdParams } }, async (request) => ({
    flavor: flavorView(await flavors.get(request.caller, request.params.id), viewers.of(request)),
  }));

  app.put("/flavors/:id", { config: { since: 55 }, schema: { params: IdParams, body: DescribeFlavor } }, async (request) => {
    const { description } = request.body.flavor;
    return { flavor: flavorView(await flavors.describe(request.caller, request.params.id, description), viewers.of(request)) };
  });

  app.delete("/flavors/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await flavors.remove(caller, params.id);
    return reply.code(202).send();
  });
}

export function addFlavorSpecRoutes(app: Server, { flavors }: ComputeApi): void {
  app.get("/flavors/:id/os-extra_specs", { schema: { params: IdParams } }, async ({ caller, params }) => ({
    extra_specs: (await flavors.get(caller, params.id)).extraSpecs,
  }));

  app.post("/flavors/:id/os-extra_specs", { schema: { params: IdParams, body: FlavorSpecsBody } }, async ({ caller, params, body }) => {
    const specs = asText(body.extra_specs);
    await flavors.setExtraSpecs(caller, params.id, specs);
    return { extra_specs: specs };
  });

  app.get("/flavors/:id/os-extra_specs/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }) => {
    const value = (await flavors.get(caller, params.id)).extraSpecs[params.key];
    if (value === undefined) throw flavorSpecNotFound(params.id, params.key);
    return { [params.key]: value };
  });

  app.put("/flavors/:id/os-extra_specs/:key", { schema: { params: IdKeyParams, body: FlavorSpecBody } }, async ({ caller, params, body }) => {
    const spec = onePair(params.key, asText(body));
    await flavors.setExtraSpecs(caller, params.id, spec);
    return spec;
  });

  app.delete("/flavors/:id/os-extra_specs/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }, reply) => {
    await flavors.removeExtraSpec(caller, params.id, params.key);
    return reply.code(200).send();
  });
}

export function addFlavorAccessRoutes(app: Server, { flavors }: ComputeApi): void {
  app.get("/flavors/:id/os-flavor-access", { schema: { params: IdParams } }, async ({ caller, params }) =>
    accessView(params.id, await flavors.projectsOf(caller, params.id)),
  );

  app.post("/flavors/:id/action", { schema: { params: IdParams } }, async ({ caller, params, body }) => {
    const [name, argument] = oneAction(body);
    const change = name === "addTenantAccess" ? "grant" : name === "removeTenantAccess" ? "revoke" : undefined;
    if (!change) throw new AppError("bad_request", `There is no such action: ${name}`);
    return accessView(params.id, await flavors[change](caller, params.id, parseAccess(argument).tenant));
  });
}

const parseAccess = parserOf(TenantAccess);

async function listFlavors({ flavors, viewers, limitMax }: ComputeApi, request: FastifyRequest, view: typeof flavorView): Promise<object> {
  const list = flavorListRequest(new Query(request.query), request.microversion, limitMax);
  return flavorPageView(await flavors.list(request.caller, list), viewers.of(request), view);
}

function flavorListRequest(query: Query, minor: number, limitMax: number): FlavorListRequest {
  const request = {
    ...query.takePage(limitMax),
    offset: 0,
    allProjects: false,
    sort: query.takeSort({ key: "flavorid", dir: "asc" }),
    isPublic: takeIsPublic(query),
    diskGibMin: takeLeast(query, "minDisk"),
    ramMibMin: takeLeast(query, "minRam"),
    name: minor >= 102 ? query.take("name") : undefined,
  };
  query.refuseRest(minor, STRICT_QUERIES_SINCE);
  return request;
}

/** "None" asks for public and private ones. */
function takeIsPublic(query: Query): boolean | "all" {
  const value = query.take("is_public");
  if (value === undefined) return true;
  if (/^none$/i.test(value)) return "all";
  const isPublic = new Query({ is_public: value }).takeFlag("is_public");
  return isPublic ?? true;
}

function takeLeast(query: Query, name: "minDisk" | "minRam"): number | undefined {
  const value = query.take(name);
  if (value === undefined) return undefined;
  if (!/^-?\d{1,10}$/.test(value)) throw new AppError("bad_request", `Invalid ${name} filter [${value}]`);
  return Number(value);
}

function newFlavor(body: NewFlavorBody): NewFlavor {
  return {
    id: body.id === undefined || body.id === null || body.id === "" ? undefined : String(body.id),
    name: body.name.trim(),
    description: body.description ?? null,
    vcpus: Number(body.vcpus),
    ramMib: Number(body.ram),
    diskGib: Number(body.disk),
    ephemeralGib: Number(body["OS-FLV-EXT-DATA:ephemeral"] ?? 0),
    swapMib: Number(body.swap ?? 0),
    rxtxFactor: Number(body.rxtx_factor ?? 1),
    isPublic: flag(body["os-flavor-access:is_public"] ?? true),
    extraSpecs: {},
  };
}

function accessView(flavorId: string, projectIds: readonly string[]): object {
  return { flavor_access: projectIds.map((tenant_id) => ({ flavor_id: flavorId, tenant_id })) };
}

function asText(specs: Readonly<Record<string, string | number | boolean>>): KeyValuePairs {
  return Object.fromEntries(Object.entries(specs).map(([name, value]) => [name, String(value)]));
}

import { oneAction, parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { VolumeTypeListRequest } from "#/app/volume-types.ts";
import { type Caller, isAdmin } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { flag, IdKeyParams, IdParams, text } from "./fields.ts";
import { ListQuery } from "./list-query.ts";
import { onePair } from "./metadata.ts";
import type { VolumeApi } from "./volume-api.ts";
import { CreateVolumeType, ExtraSpecBody, ExtraSpecsBody, ProjectAccess, UpdateVolumeType } from "./types-schema.ts";
import { volumeTypeDetailView, volumeTypePageView } from "./types-view.ts";

export function addVolumeTypeRoutes(app: Server, { volumeTypes, viewers, limitMax }: VolumeApi): void {
  app.get("/types", async (request) => {
    const list = typeListRequest(new ListQuery(request.query), request.caller, request.microversion, limitMax);
    return volumeTypePageView(await volumeTypes.list(request.caller, list), viewers.of(request));
  });

  app.post("/types", { schema: { body: CreateVolumeType } }, async (request) => {
    const { volume_type: body } = request.body;
    const type = await volumeTypes.create(request.caller, {
      name: text(body.name),
      description: body.description ?? null,
      isPublic: flag(body["os-volume-type-access:is_public"] ?? true),
      extraSpecs: body.extra_specs ?? {},
    });
    return { volume_type: volumeTypeDetailView(type, viewers.of(request)) };
  });

  app.get("/types/default", async (request) => ({
    volume_type: volumeTypeDetailView(await volumeTypes.getDefault(request.caller), viewers.of(request)),
  }));

  app.get("/types/:id", { schema: { params: IdParams } }, async (request) => ({
    volume_type: volumeTypeDetailView(await volumeTypes.get(request.caller, request.params.id), viewers.of(request)),
  }));

  app.put("/types/:id", { schema: { params: IdParams, body: UpdateVolumeType } }, async (request) => {
    const { name, description, is_public } = request.body.volume_type;
    const isPublic = is_public === undefined || is_public === null ? undefined : flag(is_public);
    const type = await volumeTypes.update(request.caller, request.params.id, { name: text(name ?? undefined), description, isPublic });
    return { volume_type: volumeTypeDetailView(type, viewers.of(request)) };
  });

  app.delete("/types/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await volumeTypes.remove(caller, params.id);
    return reply.code(202).send();
  });

  /** No type is encrypted: clients ask, and read this as no. */
  app.get("/types/:id/encryption", { schema: { params: IdParams } }, async ({ caller, params }) => {
    await volumeTypes.get(caller, params.id);
    return {};
  });
}

export function addVolumeTypeAccessRoutes(app: Server, { volumeTypes }: VolumeApi): void {
  app.get("/types/:id/os-volume-type-access", { schema: { params: IdParams } }, async ({ caller, params }) => ({
    volume_type_access: (await volumeTypes.projectsOf(caller, params.id)).map((project_id) => ({ volume_type_id: params.id, project_id })),
  }));

  app.post("/types/:id/action", { schema: { params: IdParams } }, async ({ caller, params, body }, reply) => {
    const [name, argument] = oneAction(body);
    if (name === "addProjectAccess") await volumeTypes.grant(caller, params.id, parseAccess(argument).project);
    else if (name === "removeProjectAccess") await volumeTypes.revoke(caller, params.id, parseAccess(argument).project);
    else throw new AppError("bad_request", `There is no such action: ${name}`);
    return reply.code(202).send();
  });
}

export function addExtraSpecRoutes(app: Server, { volumeTypes }: VolumeApi): void {
  app.get("/types/:id/extra_specs", { schema: { params: IdParams } }, async ({ caller, params }) => ({
    extra_specs: (await volumeTypes.get(caller, params.id)).extraSpecs,
  }));

  app.post("/types/:id/extra_specs", { schema: { params: IdParams, body: ExtraSpecsBody } }, async ({ caller, params, body }) => {
    await volumeTypes.setExtraSpecs(caller, params.id, body.extra_specs);
    return { extra_specs: body.extra_specs };
  });

  app.get("/types/:id/extra_specs/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }) => {
    const value = (await volumeTypes.get(caller, params.id)).extraSpecs[params.key];
    if (value === undefined) throw new AppError("not_found", `Volume Type ${params.id} has no extra specs with key ${params.key}.`);
    return { [params.key]: value };
  });

  app.put("/types/:id/extra_specs/:key", { schema: { params: IdKeyParams, body: ExtraSpecBody } }, async ({ caller, params, body }) => {
    const spec = onePair(params.key, body);
    await volumeTypes.setExtraSpecs(caller, params.id, spec);
    return spec;
  });

  app.delete("/types/:id/extra_specs/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }, reply) => {
    await volumeTypes.removeExtraSpec(caller, params.id, params.key);
    return reply.code(202).send();
  });
}

const parseAccess = parserOf(ProjectAccess);

/** The filters that a list of volume types has, for `GET /resource_filters`. */
export const VOLUME_TYPE_FILTERS = ["is_public", "extra_specs"] as const;

/** Administrators may filter by name as well, which clients use to find a type. */
function typeListRequest(query: ListQuery, caller: Caller, minor: number, limitMax: number): VolumeTypeListRequest {
  const page = query.takePage(limitMax);
  const isPublic = takeIsPublic(query);
  const extraSpecs = minor >= 52 ? query.takePairs("extra_specs") : undefined;
  const name = isAdmin(caller) ? query.take("name") : undefined;
  query.refuseRest(minor);
  return { ...page, isPublic, extraSpecs, name };
}

/** "None" asks for public and private ones. */
function takeIsPublic(query: ListQuery): boolean | "all" {
  const value = query.take("is_public");
  if (value === undefined) return true;
  if (/^none$/i.test(value)) return "all";
  return new ListQuery({ is_public: value }).takeFlag("is_public") ?? true;
}

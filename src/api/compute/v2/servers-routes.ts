import type { FastifyRequest } from "fastify";
import Type from "typebox";
import type { Server } from "#/api/server.ts";
import { isAdmin } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { flag, IdKeyParams, IdParams, MetadataPairs, onePair, strict } from "./fields.ts";
import { addressIn, newServer } from "./new-server.ts";
import { Query } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";
import { serverListRequest } from "./servers-filter.ts";
import { parseCreateServer, parseUpdateServer, Tag, Tags, TAGS_MAX } from "./servers-schema.ts";
import { changedServerView, createdServerView, passwordView, serverPageView, serverSummaryView, serverView } from "./servers-view.ts";

export function addServerRoutes(app: Server, api: ComputeApi): void {
  const { servers, serverCreation, serverLimits, serverOperations, viewers } = api;

  app.get("/servers", async (request) => listServers(api, request, serverSummaryView));
  app.get("/servers/detail", async (request) => listServers(api, request, serverView));

  app.post("/servers", async (request, reply) => {
    const { caller } = request;
    const { body, hints } = parseCreateServer(request.microversion, request.body);
    const asked = newServer(caller, body, hints);
    await serverLimits.refuseBeyond(caller, asked);
    const { servers: made, reservationId, adminPassword } = await serverCreation.create(caller, asked).catch(refuseOverQuota);
    if (flag(body.return_reservation_id)) return reply.code(202).send({ reservation_id: reservationId });
    const [first] = made;
    if (!first) throw new Error("Broken invariant: a create makes a server");
    const viewer = viewers.of(request);
    return reply.code(202).header("location", viewer.url("servers", first.id)).send({ server: { ...createdServerView(first, viewer), ...passwordView(adminPassword) } });
  });

  app.get("/servers/:id", { schema: { params: IdParams } }, async (request) => ({
    server: serverView(await servers.get(request.caller, request.params.id), viewers.of(request)),
  }));

  app.put("/servers/:id", { schema: { params: IdParams } }, async (request) => {
    const body = parseUpdateServer(request.microversion, request.body);
    const changes = {
      name: body.name?.trim(),
      description: body.description,
      hostname: body.hostname,
      accessIpV4: addressIn(body.accessIPv4, "accessIPv4"),
      accessIpV6: addressIn(body.accessIPv6, "accessIPv6"),
      diskConfig: body["OS-DCF:diskConfig"],
    };
    return { server: changedServerView(await servers.update(request.caller, request.params.id, changes), viewers.of(request)) };
  });

  app.delete("/servers/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await serverOperations.delete(caller, params.id);
    return reply.code(204).send();
  });
}

/** A quota of Block Storage that a server's new volumes would exceed is 403 here, as Nova's own are. */
function refuseOverQuota(error: unknown): never {
  const known = asAppError(error);
  throw known?.code === "quota_exceeded" ? new AppError("server_quota_exceeded", known.message, { cause: error }) : error;
}

const MetadataBody = strict({ metadata: MetadataPairs });
const MetaBody = strict({ meta: MetadataPairs });

export function addServerMetadataRoutes(app: Server, { servers, serverLimits }: ComputeApi): void {
  app.get("/servers/:id/metadata", { schema: { params: IdParams } }, async ({ caller, params }) => ({
    metadata: (await servers.get(caller, params.id)).metadata,
  }));
  app.post("/servers/:id/metadata", { schema: { params: IdParams, body: MetadataBody } }, async ({ caller, params, body }) => {
    const { metadata } = await servers.get(caller, params.id);
    await serverLimits.refuseBeyond(caller, { metadata: { ...metadata, ...body.metadata }, personality: [] });
    return { metadata: await servers.changeMetadata(caller, params.id, "merge", body.metadata) };
  });
  app.put("/servers/:id/metadata", { schema: { params: IdParams, body: MetadataBody } }, async ({ caller, params, body }) => {
    await serverLimits.refuseBeyond(caller, { metadata: body.metadata, personality: [] });
    return { metadata: await servers.changeMetadata(caller, params.id, "replace", body.metadata) };
  });
  app.get("/servers/:id/metadata/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }) => {
    const { metadata } = await servers.get(caller, params.id);
    const value = Object.hasOwn(metadata, params.key) ? metadata[params.key] : undefined;
    if (value === undefined) throw new AppError("not_found", "Metadata item was not found");
    return { meta: { [params.key]: value } };
  });
  app.put("/servers/:id/metadata/:key", { schema: { params: IdKeyParams, body: MetaBody } }, async ({ caller, params, body }) => {
    const meta = onePair(params.key, body.meta);
    const { metadata } = await servers.get(caller, params.id);
    await serverLimits.refuseBeyond(caller, { metadata: { ...metadata, ...meta }, personality: [] });
    await servers.changeMetadata(caller, params.id, "merge", meta);
    return { meta };
  });
  app.delete("/servers/:id/metadata/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }, reply) => {
    await servers.removeMetadata(caller, params.id, params.key);
    return reply.code(204).send();
  });
}

const TagParams = Type.Object({ id: Type.String(), tag: Tag });
const SINCE_TAGS = { config: { since: 26 } } as const;

export function addServerTagRoutes(app: Server, { servers, viewers }: ComputeApi): void {
  app.get("/servers/:id/tags", { ...SINCE_TAGS, schema: { params: IdParams } }, async ({ caller, params }) => ({
    tags: (await servers.get(caller, params.id)).tags,
  }));
  app.put("/servers/:id/tags", { ...SINCE_TAGS, schema: { params: IdParams, body: strict({ tags: Tags }) } }, async ({ caller, params, body }) => {
    await servers.setTags(caller, params.id, body.tags);
    return { tags: (await servers.get(caller, params.id)).tags };
  });
  app.delete("/servers/:id/tags", { ...SINCE_TAGS, schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await servers.setTags(caller, params.id, []);
    return reply.code(204).send();
  });
  app.get("/servers/:id/tags/:tag", { ...SINCE_TAGS, schema: { params: TagParams } }, async ({ caller, params }, reply) => {
    refuseMissing((await servers.get(caller, params.id)).tags, params);
    return reply.code(204).send();
  });
  app.put("/servers/:id/tags/:tag", { ...SINCE_TAGS, schema: { params: TagParams } }, async (request, reply) => {
    const { caller, params } = request;
    const { tags } = await servers.get(caller, params.id);
    if (tags.includes(params.tag)) return reply.code(204).send();
    if (tags.length >= TAGS_MAX) throw new AppError("bad_request", `The number of tags exceeded the per-server limit ${TAGS_MAX}`);
    await servers.setTags(caller, params.id, [...tags, params.tag]);
    return reply.code(201).header("location", viewers.of(request).url("servers", `${params.id}/tags/${encodeURIComponent(params.tag)}`)).send();
  });
  app.delete("/servers/:id/tags/:tag", { ...SINCE_TAGS, schema: { params: TagParams } }, async ({ caller, params }, reply) => {
    const { tags } = await servers.get(caller, params.id);
    refuseMissing(tags, params);
    await servers.setTags(caller, params.id, tags.filter((tag) => tag !== params.tag));
    return reply.code(204).send();
  });
}

function refuseMissing(tags: readonly string[], { id, tag }: { id: string; tag: string }): void {
  if (!tags.includes(tag)) throw new AppError("not_found", `Server ${id} has no tag '${tag}'`);
}

async function listServers({ servers, viewers, limitMax }: ComputeApi, request: FastifyRequest, view: typeof serverView): Promise<object> {
  const { caller, microversion } = request;
  const list = serverListRequest(new Query(request.query), { minor: microversion, isAdmin: isAdmin(caller), limitMax });
  return serverPageView(await servers.list(caller, list), viewers.of(request), view);
}

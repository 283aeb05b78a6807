import type { FastifyRequest } from "fastify";
import { oneAction, parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import { AppError } from "#/domain/errors.ts";
import { invalidInput } from "#/domain/volume.ts";
import { either, type Flag, flag, IdKeyParams, IdParams, MetaBody, MetadataBody, text } from "./fields.ts";
import { ListQuery } from "./list-query.ts";
import { onePair } from "./metadata.ts";
import type { VolumeApi } from "./volume-api.ts";
import { snapshotListRequest } from "./snapshots-filter.ts";
import { CreateSnapshot, ResetSnapshotStatus, UpdateSnapshot } from "./snapshots-schema.ts";
import { snapshotDetailView, snapshotPageView, snapshotView } from "./snapshots-view.ts";

export function addSnapshotRoutes(app: Server, api: VolumeApi): void {
  const { snapshots, viewers } = api;

  app.get("/snapshots", async (request) => listSnapshots(api, request, snapshotView));
  app.get("/snapshots/detail", async (request) => listSnapshots(api, request, snapshotDetailView));

  app.post("/snapshots", { schema: { body: CreateSnapshot } }, async (request, reply) => {
    const { snapshot: body } = request.body;
    const snapshot = await snapshots.create(request.caller, {
      volumeId: body.volume_id,
      name: text(either(body.name, body.display_name)) ?? null,
      description: text(either(body.description, body.display_description)) ?? null,
      metadata: body.metadata ?? {},
      inUse: mayBeInUse(request.microversion, body.force),
    });
    return reply.code(202).send({ snapshot: snapshotView(snapshot, viewers.of(request)) });
  });

  app.get("/snapshots/:id", { schema: { params: IdParams } }, async (request) => ({
    snapshot: snapshotDetailView(await snapshots.get(request.caller, request.params.id), viewers.of(request)),
  }));

  app.put("/snapshots/:id", { schema: { params: IdParams, body: UpdateSnapshot } }, async (request) => {
    const { snapshot: body } = request.body;
    const changes = {
      name: text(either(body.name, body.display_name)),
      description: text(either(body.description, body.display_description)),
    };
    return { snapshot: snapshotView(await snapshots.update(request.caller, request.params.id, changes), viewers.of(request)) };
  });

  app.delete("/snapshots/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await snapshots.delete(caller, params.id, { force: false });
    return reply.code(202).send();
  });

  app.post("/snapshots/:id/action", { schema: { params: IdParams } }, async ({ caller, params, body }, reply) => {
    const [name, argument] = oneAction(body);
    if (name === "os-reset_status") await snapshots.resetStatus(caller, params.id, parseResetStatus(argument).status);
    else if (name === "os-force_delete") await snapshots.delete(caller, params.id, { force: true });
    else throw new AppError("bad_request", `There is no such action: ${name}`);
    return reply.code(202).send();
  });
}

export function addSnapshotMetadataRoutes(app: Server, { snapshots }: VolumeApi): void {
  app.get("/snapshots/:id/metadata", { schema: { params: IdParams } }, async ({ caller, params }) => ({
    metadata: await snapshots.metadata(caller, params.id),
  }));
  app.post("/snapshots/:id/metadata", { schema: { params: IdParams, body: MetadataBody } }, async ({ caller, params, body }) => ({
    metadata: await snapshots.setMetadata(caller, params.id, body.metadata, { replace: false }),
  }));
  app.put("/snapshots/:id/metadata", { schema: { params: IdParams, body: MetadataBody } }, async ({ caller, params, body }) => ({
    metadata: await snapshots.setMetadata(caller, params.id, body.metadata, { replace: true }),
  }));
  app.get("/snapshots/:id/metadata/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }) => ({
    meta: { [params.key]: await snapshots.metadataItem(caller, params.id, params.key) },
  }));
  app.put("/snapshots/:id/metadata/:key", { schema: { params: IdKeyParams, body: MetaBody } }, async ({ caller, params, body }) => {
    const meta = onePair(params.key, body.meta);
    await snapshots.setMetadata(caller, params.id, meta, { replace: false });
    return { meta };
  });
  app.delete("/snapshots/:id/metadata/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }, reply) => {
    await snapshots.removeMetadata(caller, params.id, params.key);
    return reply.code(200).send();
  });
}

const parseResetStatus = parserOf(ResetSnapshotStatus);

async function listSnapshots(
  { snapshots, viewers, limitMax }: VolumeApi,
  request: FastifyRequest,
  view: typeof snapshotView,
): Promise<object> {
  const { caller, microversion } = request;
  const query = new ListQuery(request.query);
  const withCount = microversion >= 45 && (query.takeFlag("with_count") ?? false);
  const list = snapshotListRequest(query, microversion, limitMax);
  const page = await snapshots.list(caller, list);
  const count = withCount ? await snapshots.count(caller, list) : undefined;
  return snapshotPageView(page, viewers.of(request), { view, count });
}

/** From 3.66 on volumes in use are snapshotted without being asked twice: `force` may still say so, but not the contrary. */
function mayBeInUse(minor: number, force: Flag | null | undefined): boolean {
  const forced = force !== null && flag(force);
  if (minor < 66) return forced;
  if (force !== undefined && force !== null && !forced)
    throw invalidInput("The 'force' flag is invalid: from microversion 3.66 on it may only be true.");
  return true;
}

import type { FastifyRequest } from "fastify";
import type { Server } from "#/api/server.ts";
import type { NewVolume } from "#/app/volume-creation.ts";
import { AppError } from "#/domain/errors.ts";
import { gibibytesFor } from "#/lib/units.ts";
import { either, flag, IdKeyParams, IdParams, MetaBody, MetadataBody, named, text } from "./fields.ts";
import { ListQuery } from "./list-query.ts";
import { onePair } from "./metadata.ts";
import type { VolumeApi } from "./volume-api.ts";
import { volumeListRequest } from "./volumes-filter.ts";
import { type NewVolumeBody, parseCreateVolume, UpdateVolume } from "./volumes-schema.ts";
import { volumeDetailView, volumePageView, volumeSummaryView, volumeView } from "./volumes-view.ts";

export function addVolumeRoutes(app: Server, api: VolumeApi): void {
  const { volumes, volumeCreation, volumeOperations, viewers } = api;

  app.get("/volumes", async (request) => listVolumes(api, request, volumeSummaryView));
  app.get("/volumes/detail", async (request) => listVolumes(api, request, volumeDetailView));

  app.get("/volumes/summary", { config: { since: 12 } }, async ({ caller, query, microversion }) => {
    const { count, sizeBytes, metadata } = await volumes.summary(caller, {
      allProjects: new ListQuery(query).takeFlag("all_tenants") ?? false,
    });
    const values = Object.groupBy(metadata, ({ name }) => name);
    const distinct = Object.fromEntries(Object.entries(values).map(([name, pairs = []]) => [name, pairs.map(({ value }) => value)]));
    return {
      "volume-summary": { total_count: count, total_size: gibibytesFor(sizeBytes), ...(microversion >= 36 && { metadata: distinct }) },
    };
  });

  app.post("/volumes", async (request, reply) => {
    const body = parseCreateVolume(request.microversion, request.body);
    const volume = await volumeCreation.create(request.caller, newVolume(body));
    return reply.code(202).send({ volume: volumeView(volume, viewers.of(request)) });
  });

  app.get("/volumes/:id", { schema: { params: IdParams } }, async (request) => ({
    volume: volumeDetailView(await volumes.get(request.caller, request.params.id), viewers.of(request)),
  }));

  app.put("/volumes/:id", { schema: { params: IdParams, body: UpdateVolume } }, async (request) => {
    const { volume: body } = request.body;
    if (Object.keys(body).length === 0 && request.microversion >= 53)
      throw new AppError("bad_request", "Invalid body: volume must have a field to change.");
    const changes = {
      name: text(either(body.name, body.display_name)),
      description: text(either(body.description, body.display_description)),
      metadata: body.metadata,
    };
    return { volume: volumeView(await volumes.update(request.caller, request.params.id, changes), viewers.of(request)) };
  });

  app.delete("/volumes/:id", { schema: { params: IdParams } }, async ({ caller, params, query, microversion }, reply) => {
    const options = new ListQuery(query);
    const cascade = options.takeFlag("cascade") ?? false;
    const force = microversion >= 23 && (options.takeFlag("force") ?? false);
    await volumeOperations.delete(caller, params.id, { cascade, force });
    return reply.code(202).send();
  });
}

export function addVolumeMetadataRoutes(app: Server, { volumeMetadata }: VolumeApi): void {
  app.get("/volumes/:id/metadata", { schema: { params: IdParams } }, async ({ caller, params }) => ({
    metadata: await volumeMetadata.all(caller, params.id),
  }));
  app.post("/volumes/:id/metadata", { schema: { params: IdParams, body: MetadataBody } }, async ({ caller, params, body }) => ({
    metadata: await volumeMetadata.merge(caller, params.id, body.metadata),
  }));
  app.put("/volumes/:id/metadata", { schema: { params: IdParams, body: MetadataBody } }, async ({ caller, params, body }) => ({
    metadata: await volumeMetadata.replace(caller, params.id, body.metadata),
  }));
  app.get("/volumes/:id/metadata/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }) => ({
    meta: { [params.key]: await volumeMetadata.one(caller, params.id, params.key) },
  }));
  app.put("/volumes/:id/metadata/:key", { schema: { params: IdKeyParams, body: MetaBody } }, async ({ caller, params, body }) => {
    const meta = onePair(params.key, body.meta);
    await volumeMetadata.merge(caller, params.id, meta);
    return { meta };
  });
  app.delete("/volumes/:id/metadata/:key", { schema: { params: IdKeyParams } }, async ({ caller, params }, reply) => {
    await volumeMetadata.remove(caller, params.id, params.key);
    return reply.code(200).send();
  });
}

async function listVolumes({ volumes, viewers, limitMax }: VolumeApi, request: FastifyRequest, view: typeof volumeView): Promise<object> {
  const { caller, microversion } = request;
  const query = new ListQuery(request.query);
  const withCount = microversion >= 45 && (query.takeFlag("with_count") ?? false);
  const list = volumeListRequest(query, microversion, limitMax);
  const page = await volumes.list(caller, list);
  const count = withCount ? await volumes.count(caller, list) : undefined;
  return volumePageView(page, viewers.of(request), { view, count });
}

function newVolume(body: NewVolumeBody): NewVolume {
  refuseWhatIsNotOffered(body);
  return {
    name: text(either(body.name, body.display_name)) ?? null,
    description: text(either(body.description, body.display_description)) ?? null,
    sizeGib: body.size === null || body.size === undefined ? undefined : Number(body.size),
    imageId: imageIdOf(body),
    snapshotId: named(body.snapshot_id),
    sourceVolumeId: named(body.source_volid),
    volumeType: named(body.volume_type),
    availabilityZone: named(body.availability_zone),
    metadata: body.metadata ?? {},
  };
}

/** `imageRef` may be the image's URL. */
function imageIdOf({ imageRef, image_id }: NewVolumeBody): string | undefined {
  return named(imageRef)?.split("/").pop() ?? named(image_id);
}

/** There are no groups and no backups, so none of them can be found. */
function refuseWhatIsNotOffered({ multiattach, consistencygroup_id, group_id, backup_id }: NewVolumeBody): void {
  if (multiattach !== null && flag(multiattach)) {
    throw new AppError(
      "bad_request",
      "multiattach parameter has been removed. The default behavior is to use multiattach enabled volume types. Contact your administrator to create a multiattach enabled volume type and use it to create multiattach volumes.",
    );
  }
  const group = named(group_id) ?? named(consistencygroup_id);
  if (group !== undefined) throw new AppError("not_found", `Group ${group} could not be found.`);
  if (named(backup_id) !== undefined) throw new AppError("not_found", `Backup ${backup_id} could not be found.`);
}

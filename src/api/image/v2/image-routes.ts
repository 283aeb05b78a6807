import type { FastifyReply, FastifyRequest } from "fastify";
import type { Server } from "#/api/server.ts";
import { AppError } from "#/domain/errors.ts";
import type { Image } from "#/domain/image.ts";
import { parseListQuery } from "./list-query.ts";
import { parseNewImage } from "./new-image.ts";
import { PATCH_MEDIA_TYPES, type PatchDraft, parsePatch, patchDraft } from "./patch.ts";
import type { ImagesApi } from "./images-api.ts";
import { ImageParams, TagParams } from "./schema.ts";
import { imagesView, imageView } from "./view.ts";

/** Images as records. */
export function addImageRoutes(app: Server, { images, locations, stores, pages }: ImagesApi): void {
  const one = { schema: { params: ImageParams } };
  const view = async (image: Image) => imageView(image, (await locations.whereabouts([image])).get(image.id));

  app.post("/v2/images", async ({ caller, body }, reply) => {
    const image = await images.create(caller, parseNewImage(body));
    const writable = stores.writable();
    if (writable.length > 0) reply.header("openstack-image-store-ids", writable.join(","));
    return reply.code(201).header("location", `/v2/images/${image.id}`).send(await view(image));
  });

  app.get("/v2/images", async ({ caller, url }) => {
    const query = queryOf(url);
    const listing = parseListQuery(query, pages);
    const found = await images.list(caller, listing);
    query.delete("marker");
    return imagesView({ images: found, whereabouts: await locations.whereabouts(found), query, limit: listing.limit });
  });

  app.get("/v2/images/:imageId", one, async ({ caller, params }) => view(await images.show(caller, params.imageId)));

  app.patch("/v2/images/:imageId", { ...one, onRequest: requirePatch }, async ({ caller, params, body, headers }) => {
    const change = parsePatch(body, patchDraft(headers["content-type"]) as PatchDraft);
    if (Array.isArray(change)) return view(await images.update(caller, params.imageId, change));
    await locations.patch(caller, params.imageId, change.op, change.location);
    return view(await images.show(caller, params.imageId));
  });

  app.delete("/v2/images/:imageId", one, async ({ caller, params }, reply) => {
    await images.delete(caller, params.imageId);
    return reply.code(204).send();
  });

  app.post("/v2/images/:imageId/actions/deactivate", one, async ({ caller, params }, reply) => {
    await images.deactivate(caller, params.imageId);
    return reply.code(204).send();
  });

  app.post("/v2/images/:imageId/actions/reactivate", one, async ({ caller, params }, reply) => {
    await images.reactivate(caller, params.imageId);
    return reply.code(204).send();
  });

  app.put("/v2/images/:imageId/tags/:tag", { schema: { params: TagParams } }, async ({ caller, params }, reply) => {
    await images.addTag(caller, params.imageId, params.tag);
    return reply.code(204).send();
  });

  app.delete("/v2/images/:imageId/tags/:tag", { schema: { params: TagParams } }, async ({ caller, params }, reply) => {
    await images.removeTag(caller, params.imageId, params.tag);
    return reply.code(204).send();
  });
}

async function requirePatch(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (patchDraft(request.headers["content-type"]) !== undefined) return;
  reply.header("accept-patch", PATCH_MEDIA_TYPES.join(", "));
  throw new AppError("unsupported_media", `An image is changed by one of ${PATCH_MEDIA_TYPES.join(", ")}.`);
}

function queryOf(url: string): URLSearchParams {
  const at = url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : url.slice(at + 1));
}

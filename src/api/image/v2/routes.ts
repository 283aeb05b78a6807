import type { FastifyRequest } from "fastify";
import { glanceFault } from "#/api/fault-shapes.ts";
import { BaseUrls } from "#/api/base-urls.ts";
import { acceptJsonBodies } from "#/api/json-body.ts";
import { type Server, useFaultShape } from "#/api/server.ts";
import type { AppContext } from "#/app/context.ts";
import { ImageData } from "#/app/image-data.ts";
import { ImageLocations } from "#/app/image-locations.ts";
import { ImageMembers } from "#/app/image-members.ts";
import { ImageStores } from "#/app/image-stores.ts";
import { Images } from "#/app/images.ts";
import { VolumeUploads } from "#/app/volume-uploads.ts";
import { AppError } from "#/domain/errors.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import { addDataRoutes } from "./data-routes.ts";
import { addDiscoveryRoutes } from "./discovery-routes.ts";
import { addImageRoutes } from "./image-routes.ts";
import { addImportRoutes } from "./import-routes.ts";
import { addMemberRoutes } from "./member-routes.ts";
import { PATCH_MEDIA_TYPES } from "./patch.ts";
import { addVersionRoutes } from "./versions.ts";
import type { ImagesApi } from "./images-api.ts";

const PATCH_BYTES_MAX = MiB;
const PATCH_TIMEOUT_MS = 30 * SECOND_MS;

/** The Image API v2 under `/image`, https://docs.openstack.org/api-ref/image/v2/. */
export function registerImages(app: Server, context: AppContext): void {
  const stores = new ImageStores(context);
  const api: ImagesApi = {
    images: new Images(context),
    members: new ImageMembers(context),
    data: new ImageData(context, stores),
    stores,
    locations: new ImageLocations(context, new VolumeUploads(context)),
    pages: context.config.pages,
    baseUrls: new BaseUrls(context.config.publicUrl),
  };
  app.register(async (scope: Server) => addRoutes(scope, api), { prefix: "/image" });
}

function addRoutes(app: Server, api: ImagesApi): void {
  useFaultShape(app, glanceFault);
  acceptJsonBodies(app, { bytesMax: PATCH_BYTES_MAX, timeoutMs: PATCH_TIMEOUT_MS, mediaTypes: PATCH_MEDIA_TYPES });
  app.addHook("onRequest", refuseUnexpectedBody);
  addVersionRoutes(app, api);
  addImageRoutes(app, api);
  addMemberRoutes(app, api);
  addImportRoutes(app, api);
  addDiscoveryRoutes(app, api);
  app.register(async (scope: Server) => addDataRoutes(scope, api));
}

async function refuseUnexpectedBody({ method, headers }: FastifyRequest): Promise<void> {
  const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
  if (hasBody && (method === "GET" || method === "DELETE")) throw new AppError("bad_request", "A body is not expected with this request.");
}

import type { FastifyRequest } from "fastify";
import { cinderFault } from "#/api/fault-shapes.ts";
import { BaseUrls } from "#/api/base-urls.ts";
import { useMicroversions } from "#/api/microversion.ts";
import { type Server, useFaultShape, useRequestIdHeader } from "#/api/server.ts";
import { type BlockStorage, openBlockStorage } from "#/app/block-storage.ts";
import type { AppContext } from "#/app/context.ts";
import { isAdmin } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { addDiscoveryRoutes } from "./discovery-routes.ts";
import { addMessageRoutes } from "./messages-routes.ts";
import { addPoolRoutes } from "./pools-routes.ts";
import { addLimitRoutes, addQuotaClassRoutes, addQuotaRoutes } from "./quotas-routes.ts";
import { addServiceRoutes } from "./services-routes.ts";
import { addSnapshotMetadataRoutes, addSnapshotRoutes } from "./snapshots-routes.ts";
import { addExtraSpecRoutes, addVolumeTypeAccessRoutes, addVolumeTypeRoutes } from "./types-routes.ts";
import { addVersionRoutes } from "./versions-routes.ts";
import { Viewers } from "./viewer.ts";
import { addVolumeActionRoutes } from "./volume-actions-routes.ts";
import { addVolumeMetadataRoutes, addVolumeRoutes } from "./volumes-routes.ts";
import { MICROVERSIONS, type VolumeApi } from "./volume-api.ts";

/** The Block Storage API v3 under `/volume`, https://docs.openstack.org/api-ref/block-storage/v3/. */
export async function registerVolumes(app: Server, context: AppContext): Promise<BlockStorage> {
  const storage = await openBlockStorage(context);
  mountVolumes(app, context, storage);
  return storage;
}

export function mountVolumes(app: Server, { clock, config }: Pick<AppContext, "clock" | "config">, storage: BlockStorage): void {
  const viewers = new Viewers(new BaseUrls(config.publicUrl));
  const api: VolumeApi = { ...storage, viewers, clock, availabilityZone: config.availabilityZone, limitMax: config.pages.maxLimit };
  app.register(async (scope: Server) => addVersionedRoutes(scope, api), { prefix: "/volume" });
}

function addVersionedRoutes(app: Server, api: VolumeApi): void {
  useFaultShape(app, cinderFault);
  useRequestIdHeader(app, "x-compute-request-id");
  useMicroversions(app, MICROVERSIONS);
  addVersionRoutes(app, api);
  app.register(async (scope: Server) => addRoutes(scope, api), { prefix: "/v3" });
  app.register(async (scope: Server) => addProjectRoutes(scope, api), { prefix: "/v3/:project_id" });
}

/** Every call is there with the project in its path, too: catalogs name it so. */
function addProjectRoutes(app: Server, api: VolumeApi): void {
  app.addHook("onRequest", async (request) => refuseOtherProject(request));
  addRoutes(app, api);
}

function addRoutes(app: Server, api: VolumeApi): void {
  addVolumeRoutes(app, api);
  addVolumeMetadataRoutes(app, api);
  addVolumeActionRoutes(app, api);
  addSnapshotRoutes(app, api);
  addSnapshotMetadataRoutes(app, api);
  addVolumeTypeRoutes(app, api);
  addVolumeTypeAccessRoutes(app, api);
  addExtraSpecRoutes(app, api);
  addQuotaRoutes(app, api);
  addQuotaClassRoutes(app, api);
  addLimitRoutes(app, api);
  addMessageRoutes(app, api);
  addServiceRoutes(app, api);
  addPoolRoutes(app, api);
  addDiscoveryRoutes(app);
}

function refuseOtherProject({ caller, params }: FastifyRequest): void {
  const { project_id } = params as { project_id: string };
  if (project_id === caller.projectId || isAdmin(caller)) return;
  throw new AppError(
    "bad_request",
    `Malformed request URL: URL's project_id '${project_id}' doesn't match Context's project_id '${caller.projectId}'`,
  );
}

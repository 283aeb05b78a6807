import { BaseUrls } from "#/api/base-urls.ts";
import { cinderFault } from "#/api/fault-shapes.ts";
import { useMicroversions } from "#/api/microversion.ts";
import { type Server, useFaultShape, useRequestIdHeader } from "#/api/server.ts";
import type { BlockStorage } from "#/app/block-storage.ts";
import { type Compute, openCompute } from "#/app/compute.ts";
import type { AppContext } from "#/app/context.ts";
import { addAggregateImageRoutes, addAggregateRoutes } from "./aggregates-routes.ts";
import { addAttachmentRoutes } from "./attachments-routes.ts";
import { addExtensionRoutes } from "./extensions.ts";
import { addFlavorAccessRoutes, addFlavorRoutes, addFlavorSpecRoutes } from "./flavors-routes.ts";
import { addHypervisorRoutes } from "./hypervisors-routes.ts";
import { addKeypairRoutes } from "./keypairs-routes.ts";
import { addLimitRoutes, addQuotaClassRoutes, addQuotaRoutes } from "./quotas-routes.ts";
import { addServerActionRoutes } from "./server-actions-routes.ts";
import { addServerGroupRoutes } from "./server-groups-routes.ts";
import { addServerHistoryRoutes } from "./server-history-routes.ts";
import { addExternalEventRoutes, addServerPartRoutes } from "./server-parts-routes.ts";
import { addServerMetadataRoutes, addServerRoutes, addServerTagRoutes } from "./servers-routes.ts";
import { addServiceRoutes, addZoneRoutes } from "./services-routes.ts";
import { addVersionRoutes } from "./versions-routes.ts";
import { Viewers } from "./viewer.ts";
import { type ComputeApi, MICROVERSIONS } from "./compute-api.ts";

/** The Compute API v2.1 under `/compute`, https://docs.openstack.org/api-ref/compute/. */
export function registerCompute(app: Server, context: AppContext, storage: BlockStorage): Compute {
  const compute = openCompute(context, storage);
  mountCompute(app, context, compute);
  return compute;
}

export function mountCompute(app: Server, { clock, config }: Pick<AppContext, "clock" | "config">, compute: Compute): void {
  const viewers = new Viewers(new BaseUrls(config.publicUrl));
  const api: ComputeApi = { ...compute, viewers, clock, limitMax: config.pages.maxLimit };
  app.register(async (scope: Server) => addVersionedRoutes(scope, api), { prefix: "/compute" });
}

function addVersionedRoutes(app: Server, api: ComputeApi): void {
  useFaultShape(app, cinderFault);
  useRequestIdHeader(app, "x-compute-request-id");
  useMicroversions(app, MICROVERSIONS);
  addVersionRoutes(app, api);
  app.register(async (scope: Server) => addRoutes(scope, api), { prefix: "/v2.1" });
}

function addRoutes(app: Server, api: ComputeApi): void {
  addExtensionRoutes(app);
  addServerRoutes(app, api);
  addServerMetadataRoutes(app, api);
  addServerTagRoutes(app, api);
  addServerActionRoutes(app, api);
  addAttachmentRoutes(app, api);
  addServerHistoryRoutes(app, api);
  addServerPartRoutes(app, api);
  addExternalEventRoutes(app, api);
  addServerGroupRoutes(app, api);
  addFlavorRoutes(app, api);
  addFlavorSpecRoutes(app, api);
  addFlavorAccessRoutes(app, api);
  addKeypairRoutes(app, api);
  addQuotaRoutes(app, api);
  addQuotaClassRoutes(app, api);
  addLimitRoutes(app, api);
  addZoneRoutes(app, api);
  addServiceRoutes(app, api);
  addHypervisorRoutes(app, api);
  addAggregateRoutes(app, api);
  addAggregateImageRoutes(app, api);
}

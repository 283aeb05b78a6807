import type { FastifyRequest } from "fastify";
import { cinderFault } from "#/api/fault-shapes.ts";
import { BaseUrls } from "#/api/identity/v3/base-urls.ts";
import { type Microversions, useMicroversions } from "#/api/microversion.ts";
import { type Server, useFaultShape } from "#/api/server.ts";
import type { Messages } from "#/app/messages.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { Snapshots } from "#/app/snapshots.ts";
import type { VolumeCreation } from "#/app/volume-creation.ts";
import type { VolumeMetadata } from "#/app/volume-metadata.ts";
import type { VolumeOperations } from "#/app/volume-operations.ts";
import type { VolumeServices } from "#/app/volume-services.ts";
import type { VolumeTypes } from "#/app/volume-types.ts";
import type { Volumes } from "#/app/volumes.ts";
import { isAdmin } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { Clock } from "#/lib/clock.ts";
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

/** Cinder 2024.2 has the same. */
export const MICROVERSIONS: Microversions = { service: "volume", major: 3, min: 0, max: 71 };

/** The use cases behind the Block Storage API. */
export interface VolumeUseCases {
  readonly volumes: Volumes;
  readonly volumeCreation: VolumeCreation;
  readonly volumeOperations: VolumeOperations;
  readonly volumeMetadata: VolumeMetadata;
  readonly snapshots: Snapshots;
  readonly volumeTypes: VolumeTypes;
  readonly volumeServices: VolumeServices;
  readonly quotas: Quotas;
  readonly messages: Messages;
}

export interface VolumeApiOptions extends VolumeUseCases {
  readonly clock: Clock;
  readonly availabilityZone: string;
  /** The longest page, and the one of a list without `limit`. */
  readonly limitMax: number;
  /** How clients reach the server, without a slash at its end; undefined: as the request did. */
  readonly publicUrl?: string | undefined;
}

/** What the routes work with. */
export interface VolumeApi extends VolumeApiOptions {
  readonly viewers: Viewers;
}

/** The Block Storage API v3 under `/volume`, https://docs.openstack.org/api-ref/block-storage/v3/. */
export function registerVolume(app: Server, options: VolumeApiOptions): void {
  const api: VolumeApi = { ...options, viewers: new Viewers(new BaseUrls(options.publicUrl)) };
  app.register(
    async (scope: Server) => {
      useFaultShape(scope, cinderFault);
      useMicroversions(scope, MICROVERSIONS);
      addVersionRoutes(scope, api);
      scope.register(async (plain: Server) => addRoutes(plain, api), { prefix: "/v3" });
      scope.register(async (ofProject: Server) => addProjectRoutes(ofProject, api), { prefix: "/v3/:project_id" });
    },
    { prefix: "/volume" },
  );
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
  throw new AppError("bad_request", `Malformed request URL: URL's project_id '${project_id}' doesn't match Context's project_id '${caller.projectId}'`);
}

import { Aggregates } from "#/app/aggregates.ts";
import type { BlockStorage } from "#/app/block-storage.ts";
import { ComputeHosts } from "#/app/compute-hosts.ts";
import type { AppContext } from "#/app/context.ts";
import { Flavors } from "#/app/flavors.ts";
import { ImagePrecaching } from "#/app/image-precaching.ts";
import { Keypairs } from "#/app/keypairs.ts";
import { Materialise } from "#/app/materialise.ts";
import { Quotas } from "#/app/quotas.ts";
import { ServerChanges } from "#/app/server-changes.ts";
import { ServerCreation } from "#/app/server-creation.ts";
import { ServerDevices } from "#/app/server-devices.ts";
import { ServerImages } from "#/app/server-images.ts";
import { ServerGroups } from "#/app/server-groups.ts";
import { ServerLimits } from "#/app/server-limits.ts";
import { ServerShelving } from "#/app/server-shelving.ts";
import { ServerOperations } from "#/app/server-operations.ts";
import { Servers } from "#/app/servers.ts";
import { ServerVolumes } from "#/app/server-volumes.ts";

/** The use cases of servers and what belongs to them. */
export interface Compute {
  readonly servers: Servers;
  readonly serverCreation: ServerCreation;
  readonly serverOperations: ServerOperations;
  readonly serverChanges: ServerChanges;
  readonly serverShelving: ServerShelving;
  readonly serverVolumes: ServerVolumes;
  readonly serverImages: ServerImages;
  readonly serverLimits: ServerLimits;
  readonly serverGroups: ServerGroups;
  readonly flavors: Flavors;
  readonly keypairs: Keypairs;
  readonly quotas: Quotas;
  readonly hosts: ComputeHosts;
  readonly aggregates: Aggregates;
  readonly imagePrecaching: ImagePrecaching;
}

/** Builds the use cases. Servers take their volumes from Block Storage, as its own users do. */
export function openCompute(context: AppContext, { volumes, volumeCreation }: Pick<BlockStorage, "volumes" | "volumeCreation">): Compute {
  const quotas = new Quotas(context, "servers");
  const volumeQuotas = new Quotas(context);
  const flavors = new Flavors(context);
  const keypairs = new Keypairs(context, quotas);
  const hosts = new ComputeHosts(context);
  const servers = new Servers(context);
  const materialise = new Materialise(context);
  const devices = new ServerDevices(context, { volumes, volumeCreation, materialise });
  return {
    servers,
    serverCreation: new ServerCreation(context, { flavors, keypairs, quotas, devices }),
    serverOperations: new ServerOperations(context, servers),
    serverChanges: new ServerChanges(context, { servers, flavors, keypairs, quotas, materialise }),
    serverShelving: new ServerShelving(context, { servers, materialise }),
    serverVolumes: new ServerVolumes(context, { servers, volumes }),
    serverImages: new ServerImages(context, { servers, quotas: volumeQuotas, materialise }),
    serverLimits: new ServerLimits(context, quotas),
    serverGroups: new ServerGroups(context, quotas),
    flavors,
    keypairs,
    quotas,
    hosts,
    aggregates: new Aggregates(context, hosts),
    imagePrecaching: new ImagePrecaching(context, materialise),
  };
}

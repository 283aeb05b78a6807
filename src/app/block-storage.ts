import type { AppContext } from "#/app/context.ts";
import { Materialise } from "#/app/materialise.ts";
import { Messages } from "#/app/messages.ts";
import { Plans } from "#/app/plans.ts";
import { Quotas } from "#/app/quotas.ts";
import { ServerCaptures } from "#/app/server-captures.ts";
import { Servers } from "#/app/servers.ts";
import { Snapshots } from "#/app/snapshots.ts";
import { VolumeCreation } from "#/app/volume-creation.ts";
import { VolumeMetadata } from "#/app/volume-metadata.ts";
import { VolumeOperations } from "#/app/volume-operations.ts";
import { VolumeRetyping } from "#/app/volume-retyping.ts";
import { VolumeServices } from "#/app/volume-services.ts";
import { VolumeTypes } from "#/app/volume-types.ts";
import { VolumeUploads } from "#/app/volume-uploads.ts";
import { Volumes } from "#/app/volumes.ts";

/** The use cases of volumes and what belongs to them. */
export interface BlockStorage {
  readonly volumes: Volumes;
  readonly volumeCreation: VolumeCreation;
  readonly volumeOperations: VolumeOperations;
  readonly volumeUploads: VolumeUploads;
  readonly volumeMetadata: VolumeMetadata;
  readonly volumeRetyping: VolumeRetyping;
  readonly snapshots: Snapshots;
  readonly volumeTypes: VolumeTypes;
  readonly volumeServices: VolumeServices;
  readonly quotas: Quotas;
  readonly messages: Messages;
  readonly plans: Plans;
  readonly captures: ServerCaptures;
}

/** Builds the use cases, and makes the default volume type where it is missing. */
export async function openBlockStorage(context: AppContext): Promise<BlockStorage> {
  const materialise = new Materialise(context);
  const quotas = new Quotas(context);
  const volumes = new Volumes(context);
  const volumeTypes = new VolumeTypes(context);
  const snapshots = new Snapshots(context, { volumes, quotas, materialise });
  const volumeCreation = new VolumeCreation(context, { volumes, snapshots, volumeTypes, quotas, materialise });
  const captures = new ServerCaptures(context, { servers: new Servers(context), materialise });
  await volumeTypes.bootstrap();
  return {
    volumes,
    volumeCreation,
    volumeOperations: new VolumeOperations(context, { volumes, quotas, materialise }),
    volumeUploads: new VolumeUploads(context),
    volumeMetadata: new VolumeMetadata(context, volumes),
    volumeRetyping: new VolumeRetyping(context, { volumes, volumeTypes, quotas, materialise }),
    snapshots,
    volumeTypes,
    volumeServices: new VolumeServices(context),
    quotas,
    messages: new Messages(context),
    plans: new Plans(context, { materialise, volumes, creation: volumeCreation, captures }),
    captures,
  };
}

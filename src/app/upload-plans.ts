import type { AppContext } from "#/app/context.ts";
import type { Materialise, VolumeImageRequest } from "#/app/materialise.ts";
import { findOpenVolume, planOpenVolume } from "#/app/open-volume.ts";
import type { Database } from "#/db/database.ts";
import { volumeTypeExtraSpecs } from "#/db/key-values.ts";
import type { VolumeTable } from "#/db/tables.ts";
import type { ImageForm } from "#/domain/compression.ts";
import { poolName } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import { isSuspended } from "#/saga/open-in-guest.ts";
import type { Pools } from "#/storage/pools.ts";

/** The plans of an image of the volume, the best first, as an upload would begin it now: from its bytes at rest, or captured under a guest that has it open. */
export async function planUpload(context: AppContext, materialise: Pick<Materialise, "planCapture" | "planImage">, volume: VolumeTable, form: ImageForm): Promise<readonly Plan[]> {
  const where = { form, ...(staysInPlace(context.pools, volume, form) ? { pool: poolName(volume.pool) } : { store: await storeOf(context.db, volume) }) };
  const open = await findOpenVolume(context, volume);
  if (!open) return [await planAtRest(context, materialise, volume, where)];
  const capture = await planOpenVolume(context, materialise, open, { volume, where });
  return capture.as({ kind: "image", id: volume.id }).disks.flatMap(({ ways }) => ways);
}

/** The plan of an image of a volume that no guest writes to. */
export async function planAtRest(context: AppContext, materialise: Pick<Materialise, "planImage">, { id, disk_id }: Pick<VolumeTable, "id" | "disk_id">, where: Omit<VolumeImageRequest, "volumeId" | "isSuspended">): Promise<Plan> {
  return materialise.planImage({ volumeId: id, isSuspended: disk_id !== null && (await isSuspended(context, disk_id)), ...where });
}

/** Cinder's rule for `image_upload_use_cinder_backend` (cinder/volume/manager.py, `_clone_image_volume_and_add_location`). */
export function staysInPlace(pools: Pools, { pool: name }: Pick<VolumeTable, "pool">, { diskFormat, stream }: ImageForm): boolean {
  const pool = pools.get(poolName(name));
  return pool.limits.imageUploadUseCinderBackend && diskFormat === "raw" && !stream && pool.closed === undefined;
}

/** The store that the volume's type names; undefined where it names none. */
export async function storeOf(db: Database, { volume_type_id }: Pick<VolumeTable, "volume_type_id">): Promise<string | undefined> {
  return (await volumeTypeExtraSpecs.of(db, volume_type_id))[STORE_SPEC];
}

/** Extra spec of a volume type that says where images of its volumes go (cinder/image/glance.py). */
const STORE_SPEC = "image_service:store_id";

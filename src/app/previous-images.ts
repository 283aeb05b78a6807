import type { AppContext } from "#/app/context.ts";
import { findCaptureBase } from "#/db/capture-bases.ts";
import { depthOf, findDisk } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { diskId } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import { type Since, whyNotGrownOn } from "#/planner/previous-image.ts";
import type { Pools } from "#/storage/pools.ts";

/** The image that was made of a server's own disk before, where the disk remembers what changed since; else why there is none. */
export async function previousImage({ db, config }: Pick<AppContext, "db" | "config">, { id }: Pick<BlockDeviceTable, "id">): Promise<Since> {
  if (!config.servers.incrementalImages) return { unknown: "servers.incrementalImages is off" };
  const base = await findCaptureBase(db, id);
  if (!base) return { unknown: "there is no image of the disk from which on it remembers what changes: only disks in qcow2 do, and only from raw images on that a backup job read" };
  const image = await findImage(db, base.image_id);
  if (image?.status !== "active") return { unknown: `image ${base.image_id}, the one before, is ${image?.status ?? "deleted"}` };
  const disk = image.disk_id === null ? undefined : await findDisk(db, diskId(image.disk_id));
  if (disk?.state !== "ready") return { unknown: `the bytes of image ${image.id}, the one before, are not there` };
  return { imageId: image.id, diskId: disk.id, pool: disk.pool, virtualSizeBytes: disk.virtualSizeBytes, depth: await depthOf(db, disk.id) };
}

/** Whether a later image can be made of what changes from this one on, so that the guest is to remember it. */
export function isWorthRemembering({ pools, config }: { readonly pools: Pools } & Pick<AppContext, "config">, ways: readonly Plan[]): boolean {
  const target = ways.find(({ capture }) => capture?.method === "backup_job")?.target;
  if (!config.servers.incrementalImages || target?.kind !== "image") return false;
  return whyNotGrownOn({ ...target, can: pools.get(target.pool).can }) === undefined;
}

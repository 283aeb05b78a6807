import type { Database } from "#/db/database.ts";
import { frozenDiskOfImage } from "#/db/capture-bases.ts";
import { removeImageVolume } from "#/db/image-volumes.ts";
import { removeImage } from "#/db/images.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { giveBack, volumeQuota } from "#/domain/quota.ts";

/**
 * Removes an image's record, and gives back the quota of the volume that it may count as. Its bytes are another matter. Returns the disk that a pool has kept to know what
 * changes since the image was made: now it is of no use.
 */
export async function forgetImage(trx: Database, imageId: string): Promise<string | null> {
  const keptDiskId = await frozenDiskOfImage(trx, imageId);
  await uncountImageVolume(trx, imageId);
  await removeImage(trx, imageId);
  return keptDiskId;
}

/** The image is no volume of anybody's any more. */
export async function uncountImageVolume(trx: Database, imageId: string): Promise<void> {
  const counted = await removeImageVolume(trx, imageId);
  if (counted) await addQuotaUsage(trx, counted.project_id, giveBack(volumeQuota(counted.size_bytes, counted.type)));
}

import type { Database } from "#/db/database.ts";
import { findImage } from "#/db/images.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { forgetImage } from "#/saga/forget-image.ts";

/**
 * Deletes the image that a server was shelved into, in the transaction in which the server has no need of it any more; run the answer once that is committed. One that
 * its owner protects stays. nova/compute/manager.py `_unshelve_instance`.
 */
export async function beginDropShelved({ runner, requestId }: SagaContext<object>, trx: Database, imageId: string | null): Promise<OperationId | undefined> {
  const image = imageId === null ? undefined : await findImage(trx, imageId);
  if (!image || image.protected === 1) return undefined;
  const keptDiskId = await forgetImage(trx, image.id);
  const meta = { projectId: image.owner, userId: null, requestId, subject: { kind: "image", id: image.id } };
  return runner.begin(trx, deleteImage, { imageId: image.id, diskId: image.disk_id, keptDiskId }, meta);
}

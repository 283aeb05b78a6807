import type { Database } from "#/db/database.ts";
import { getDisk } from "#/db/disks.ts";
import { findImage, updateImage } from "#/db/images.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { tryAgain } from "#/saga/try-again.ts";
import { hashDisk } from "#/transfer/hash.ts";

export interface HashImage {
  readonly imageId: string;
}

/** Reads an image that became active without its bytes passing by, and adds its hashes. There is nothing to undo, and what fails is tried again: the image would stay without them. */
export const hashImage: Saga<SagaContext<HashImage>> = {
  name: "hash-image",
  steps: [
    {
      name: "hash",
      run: (context, scope) => tryAgain(context, () => addHashes(context, scope), scope),
    },
  ],
};

/** One that was deleted meanwhile needs none. */
async function addHashes(context: SagaContext<HashImage>, scope: StepScope): Promise<void> {
  const image = await findImage(context.db, context.params.imageId);
  if (!image?.disk_id || image.hash_value) return;
  await hashImageDisk(context, image.id, diskId(image.disk_id), scope);
}

/** Hashes a disk, and notes what comes out on the image that has (or is about to have) it. */
export async function hashImageDisk({ db, pools }: SagaContext<object>, imageId: string, disk: DiskId, scope: StepScope): Promise<void> {
  const source = await getDisk(db, disk);
  const { md5, sha512 } = await hashDisk(pools.get(source.pool), source, { signal: scope.signal, onProgress: scope.progress });
  await updateImage(db, imageId, { checksum_md5: md5, hash_algorithm: "sha512", hash_value: sha512 });
}

/** Begins to hash the image in the background, where it is usable meanwhile: in the transaction that shows it to its user; run the answer once that is committed. */
export async function beginHashImage({ runner, requestId }: Pick<SagaContext<object>, "runner" | "requestId">, trx: Database, imageId: string): Promise<OperationId> {
  return runner.begin(trx, hashImage, { imageId }, { projectId: null, userId: null, requestId, subject: { kind: "image", id: imageId } });
}

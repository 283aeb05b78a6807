import { getDisk } from "#/db/disks.ts";
import { findImage, updateImage } from "#/db/images.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { hashDisk } from "#/transfer/hash.ts";

export interface HashImage {
  readonly imageId: string;
}

/** Reads an image that became active without its bytes passing by, and adds its hashes. There is nothing to undo. */
export const hashImage: Saga<SagaContext<HashImage>> = {
  name: "hash-image",
  steps: [
    {
      name: "hash",
      run: async (context, scope) => {
        const image = await findImage(context.db, context.params.imageId);
        if (!image?.disk_id || image.hash_value) return;
        await hashImageDisk(context, image.id, diskId(image.disk_id), scope);
      },
    },
  ],
};

/** Hashes a disk, and notes what comes out on the image that has (or is about to have) it. */
export async function hashImageDisk({ db, pools }: SagaContext<object>, imageId: string, disk: DiskId, scope: StepScope): Promise<void> {
  const source = await getDisk(db, disk);
  const { md5, sha512 } = await hashDisk(pools.get(source.pool), source, { signal: scope.signal, onProgress: scope.progress });
  await updateImage(db, imageId, { checksum_md5: md5, hash_algorithm: "sha512", hash_value: sha512 });
}

/** Begins to hash the image in the background: it is usable meanwhile. */
export async function beginHashImage({ db, runner, requestId }: SagaContext<object>, imageId: string): Promise<void> {
  const meta = { projectId: null, userId: null, requestId, subject: { kind: "image", id: imageId } };
  void runner.run(await db.transaction().execute((trx) => runner.begin(trx, hashImage, { imageId }, meta)));
}

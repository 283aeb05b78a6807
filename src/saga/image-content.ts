import type { Database } from "#/db/database.ts";
import { setDiskReady } from "#/db/disks.ts";
import { dataColumns, findImage, updateImage } from "#/db/images.ts";
import type { ImageTable } from "#/db/tables.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { diskId, type PoolName } from "#/domain/ids.ts";
import { type ImageDiskFormat, type ImageStatus, NO_DATA } from "#/domain/image.ts";
import type { SagaContext } from "#/saga/context.ts";

/** Bytes on their way to being an image's, in a disk of their own. */
export interface ImageContent {
  readonly imageId: string;
  /** New for each attempt, so that one that is still being undone cannot meet the next. */
  readonly diskId: string;
  readonly pool: PoolName;
  readonly format: DiskFormat;
  /** Of a compressed image: the format of the disk in the stream. */
  readonly packed: DiskFormat | null;
  /** What the image says that it is. */
  readonly diskFormat: ImageDiskFormat;
  readonly sizeBytesMax: number;
}

/** Makes the image `active` with these bytes. `stillWanted` throws where it was deleted, or changed, meanwhile. Repeatable. */
export async function publishContent({ db, clock, params }: SagaContext<ImageContent>, stillWanted: (image: ImageTable | undefined) => ImageTable): Promise<void> {
  const id = diskId(params.diskId);
  await db.transaction().execute(async (trx) => {
    const image = await findImage(trx, params.imageId);
    if (image?.disk_id === id) return;
    const { virtual_size_bytes, size_bytes } = stillWanted(image);
    await setDiskReady(trx, id, { virtualSizeBytes: virtual_size_bytes ?? size_bytes ?? 0 });
    await updateImage(trx, params.imageId, { status: "active", disk_id: id, updated_at: clock.nowMs() });
  });
}

/** The undo of `publishContent`: the image is on its way again. */
export async function unpublishContent({ db, params }: SagaContext<ImageContent>, status: ImageStatus): Promise<void> {
  await db.updateTable("image").set({ status, disk_id: null }).where("id", "=", params.imageId).where("disk_id", "=", params.diskId).execute();
}

/** An image that is on its way, in that status, waits for content as before. */
export async function queueAgain(db: Database, { clock, params }: SagaContext<ImageContent>, status: ImageStatus): Promise<void> {
  await db
    .updateTable("image")
    .set({ status: "queued", ...dataColumns(NO_DATA), updated_at: clock.nowMs() })
    .where("id", "=", params.imageId)
    .where("status", "=", status)
    .execute();
}

import type { Database } from "#/db/database.ts";
import { setDiskReady } from "#/db/disks.ts";
import { dataColumns, findImage, updateImage } from "#/db/images.ts";
import type { ImageTable } from "#/db/tables.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { diskId, type OperationId, type PoolName } from "#/domain/ids.ts";
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

/** Whether its users see the image with its bytes. From then on those are never taken from it. */
export function isPublished(image: ImageTable | undefined): boolean {
  return image !== undefined && !["queued", "saving", "importing"].includes(image.status);
}

/** The same of bytes that may be another attempt's. */
export async function hasContent({ db, params }: SagaContext<ImageContent>): Promise<boolean> {
  return (await findImage(db, params.imageId))?.disk_id === params.diskId;
}

/**
 * Makes the image `active` with these bytes. `stillWanted` throws where it was deleted, or changed, meanwhile; `begin` is for what follows, in the same transaction, and is run after it. Repeatable.
 */
export async function publishContent(
  { db, clock, params, runner }: SagaContext<ImageContent>,
  stillWanted: (image: ImageTable | undefined) => ImageTable,
  begin?: (trx: Database) => Promise<OperationId>,
): Promise<void> {
  const id = diskId(params.diskId);
  const begun = await db.transaction().execute(async (trx) => {
    const image = await findImage(trx, params.imageId);
    if (image?.disk_id === id) return undefined;
    const { virtual_size_bytes, size_bytes } = stillWanted(image);
    await setDiskReady(trx, id, { virtualSizeBytes: virtual_size_bytes ?? size_bytes ?? 0 });
    await updateImage(trx, params.imageId, { status: "active", disk_id: id, updated_at: clock.nowMs() });
    return begin?.(trx);
  });
  if (begun) void runner.run(begun);
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

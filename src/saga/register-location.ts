import { findDisk, insertDisk, removeDisk } from "#/db/disks.ts";
import { dataColumns, findImage, updateImage } from "#/db/images.ts";
import type { ImageTable } from "#/db/tables.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { NO_DATA } from "#/domain/image.ts";
import { formatBytes } from "#/lib/units.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { beginHashImage, hashImageDisk } from "#/saga/hash-image.ts";
import { hasContent, type ImageContent, publishContent, queueAgain } from "#/saga/image-content.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { inspectStored } from "#/transfer/inspect-stored.ts";

export interface RegisterLocation extends ImageContent {
  readonly url: string;
  /** What the bytes must hash to, where the caller knows it. */
  readonly sha512: string | null;
  /** Whether all bytes are read for their hashes: else those given are believed (Glance's `do_secure_hash`). */
  readonly secureHash: boolean;
}
type Context = SagaContext<RegisterLocation>;

/**
 * Makes bytes that others keep the content of an image, where they are. The image is `importing` already; it ends `active`, or
 * `queued` as before. Glance's `location_import` (glance/async_/flows/location_import.py), but that nothing is used unseen.
 */
export const registerLocation: Saga<Context> = {
  name: "register-location",
  steps: noWayBackOnce(hasContent, [
    { name: "look", run: look, undo: giveUp },
    { name: "verify", run: verify },
    { name: "publish", run: publish },
  ]),
};

/** What is hostile, or something else than the image says, never gets a record. */
async function look(context: Context, scope: StepScope): Promise<void> {
  const { db, clock, params } = context;
  if (await findDisk(db, diskId(params.diskId))) return;
  const { sizeBytes, virtualSizeBytes, bytesRead } = await lookAt(context, scope);
  if (sizeBytes > params.sizeBytesMax) throw new AppError("too_large", `The content has ${formatBytes(sizeBytes)}: the limit is ${formatBytes(params.sizeBytesMax)}.`);
  await db.transaction().execute(async (trx) => {
    requireImporting(await findImage(trx, params.imageId));
    await insertDisk(trx, { ...located(params), virtualSizeBytes: virtualSizeBytes ?? sizeBytes }, { reservedBytes: 0, nowMs: clock.nowMs() });
    await updateImage(trx, params.imageId, dataColumns({ ...NO_DATA, sizeBytes, virtualSizeBytes }));
  });
  await context.report({ strategy: "adopt", bytesRead, bytesThroughUs: bytesRead, bytesWritten: 0, bytesTemporary: 0 });
}

async function lookAt({ pools, params }: Context, { signal }: StepScope): Promise<{ sizeBytes: number; virtualSizeBytes: number | null; bytesRead: number }> {
  const pool = pools.get(params.pool);
  const disk = { ...located(params), virtualSizeBytes: 0 };
  if (params.format !== "opaque") return inspectStored(pool, disk, { diskFormat: params.diskFormat, signal });
  const stored = await pool.stat(disk.id, disk.location);
  if (!stored) throw new AppError("disk_not_found", "There is nothing at this location.");
  return { sizeBytes: stored.sizeBytes, virtualSizeBytes: null, bytesRead: 0 };
}

async function verify(context: Context, scope: StepScope): Promise<void> {
  const { db, params } = context;
  if (params.sha512 === null) return;
  if (!params.secureHash) return updateImage(db, params.imageId, { hash_algorithm: "sha512", hash_value: params.sha512 });
  await hashImageDisk(context, params.imageId, diskId(params.diskId), scope);
  const { hash_value: found } = requireImporting(await findImage(db, params.imageId));
  if (found !== params.sha512) throw new AppError("image_format_mismatch", `The content has the sha512 ${found}, not ${params.sha512}.`);
}

/** The image is usable while it is hashed. */
async function publish(context: Context): Promise<void> {
  const { params } = context;
  const isToBeHashed = params.sha512 === null && params.secureHash;
  await publishContent(context, requireImporting, isToBeHashed ? (trx) => beginHashImage(context, trx, params.imageId) : undefined);
}

/** The bytes stay where they are, and as they are. */
async function giveUp(context: Context): Promise<void> {
  const { db, params } = context;
  await db.transaction().execute(async (trx) => {
    await removeDisk(trx, diskId(params.diskId));
    await queueAgain(trx, context, "importing");
  });
}

function located({ imageId, diskId: id, pool, format, packed, url }: RegisterLocation): Omit<Disk, "virtualSizeBytes" | "state"> {
  return { id: diskId(id), pool, format, packed: packed ?? undefined, location: url, holder: { kind: "image", id: imageId } };
}

function requireImporting(image: ImageTable | undefined): ImageTable {
  if (!image) throw new AppError("gone", "The image was deleted before its location was registered.");
  if (image.status !== "importing") throw new AppError("conflict", `Image ${image.id} became ${image.status} while its location was registered.`);
  return image;
}

import { findDisk, insertDisk } from "#/db/disks.ts";
import { dataColumns, findImage, updateImage } from "#/db/images.ts";
import type { ImageTable } from "#/db/tables.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import type { ImageDataFacts } from "#/domain/image.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { hasContent, type ImageContent, publishContent, queueAgain } from "#/saga/image-content.ts";
import { discardTarget } from "#/saga/materialise.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { firstReservation, ReservationAhead } from "#/saga/reservation-ahead.ts";
import { reserveSpace } from "#/saga/reserve-space.ts";
import { receiveUpload } from "#/transfer/upload.ts";

export interface UploadImage extends ImageContent {
  /** Null where the client does not say, and sends until it is done. */
  readonly sizeBytes: number | null;
}

/** The body of a request, which only the process that got it can read. */
export interface UploadBody {
  /** Called once, when all is ready for the first byte. */
  readonly open: () => AsyncIterable<Uint8Array>;
}

export type UploadContext = SagaContext<UploadImage> & Partial<UploadBody>;

/**
 * Takes the bytes of an image from its user. The image is `saving` already; it ends `active`, or `queued` as before with no
 * bytes, no disk and no reservation.
 */
export const uploadImage: Saga<UploadContext> = {
  name: "upload-image",
  steps: noWayBackOnce(hasContent, [
    {
      name: "reserve",
      run: reserve,
      undo: giveUp,
    },
    {
      name: "receive",
      run: receive,
      resumable: false,
    },
    {
      name: "publish",
      run: (context) => publishContent(context, requireSaving),
    },
  ]),
};

/** Space is promised before the first byte; for an unknown size some, and more on the way. */
async function reserve(context: UploadContext): Promise<void> {
  const { db, clock, params } = context;
  const { pool, format, packed, imageId } = params;
  const id = diskId(params.diskId);
  if (await findDisk(db, id)) return;
  const reservedBytes = firstReservation(params.sizeBytes);
  await reserveSpace(context, { pool }, reservedBytes, async (trx) => {
    requireSaving(await findImage(trx, imageId));
    const disk = { id, pool, format, packed: packed ?? undefined, virtualSizeBytes: params.sizeBytes ?? 0, holder: { kind: "image", id: imageId } } as const;
    await insertDisk(trx, disk, { reservedBytes, nowMs: clock.nowMs() });
  });
}

async function receive(context: UploadContext, scope: StepScope): Promise<void> {
  const { db, params } = context;
  if (requireSaving(await findImage(db, params.imageId)).hash_value !== null) return; // A repeat: the bytes are here.
  if (!context.open) throw new Error("Broken invariant: only the process that has the request can receive its body");
  const facts = await receiveBytes(context, context.open(), scope);
  await updateImage(db, params.imageId, dataColumns(facts));
  await context.report({ bytesWritten: facts.sizeBytes ?? 0, bytesThroughUs: facts.sizeBytes ?? 0 });
}

async function receiveBytes(context: UploadContext, body: AsyncIterable<Uint8Array>, scope: StepScope): Promise<ImageDataFacts> {
  const { pools, params } = context;
  const id = diskId(params.diskId);
  const target = { id, format: params.format, virtualSizeBytes: params.sizeBytes ?? 0, frozen: true };
  const writer = await pools.get(params.pool).receive(target, { signal: scope.signal });
  const reservation = new ReservationAhead(context, { id, pool: params.pool }, params.sizeBytes);
  const { sizeBytes, md5, sha512, virtualSizeBytes } = await receiveUpload(body, writer, {
    signal: scope.signal,
    expectedSizeBytes: params.sizeBytes ?? undefined,
    sizeBytesMax: params.sizeBytesMax,
    diskFormat: params.format === "opaque" ? undefined : params.diskFormat,
    beforeBytes: (totalBytes, unwrittenBytes) => reservation.reach(totalBytes, unwrittenBytes),
    onProgress: scope.progress,
  });
  return { sizeBytes, virtualSizeBytes: virtualSizeBytes ?? null, checksumMd5: md5, hashAlgorithm: "sha512", hashValue: sha512 };
}

/** Bytes, disk and reservation go first: once the image is queued the next upload may begin. */
async function giveUp(context: UploadContext): Promise<void> {
  const { db, params } = context;
  await discardTarget(context, { id: diskId(params.diskId) });
  await queueAgain(db, context, "saving");
}

function requireSaving(image: ImageTable | undefined): ImageTable {
  if (!image) throw new AppError("gone", "The image was deleted while its bytes were uploaded: none of them was kept.");
  if (image.status !== "saving") throw new AppError("conflict", `Image ${image.id} became ${image.status} while its bytes were uploaded.`);
  return image;
}

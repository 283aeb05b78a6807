import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { findOwnImage, findVisibleImage } from "#/app/find-image.ts";
import type { ImageStores } from "#/app/image-stores.ts";
import { getDisk } from "#/db/disks.ts";
import { findImage, updateImage } from "#/db/images.ts";
import type { OperationTable } from "#/db/tables.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError, ERRORS, type ErrorCode } from "#/domain/errors.ts";
import type { OperationId, PoolName } from "#/domain/ids.ts";
import { contentFormat, type Image, packedFormat, requireFormats, requireTransition } from "#/domain/image.ts";
import { requireDownload } from "#/domain/image-access.ts";
import { formatBytes } from "#/lib/units.ts";
import { type UploadImage, uploadImage } from "#/saga/upload-image.ts";
import type { ByteRange } from "#/storage/driver.ts";

export interface ImageUpload {
  /** Gives the body; called once, after everything that can be refused without it. */
  readonly open: () => AsyncIterable<Uint8Array>;
  /** The length of the body, where the client says it. */
  readonly sizeBytes: number | undefined;
  /** The store that is to take it; undefined: any with room. */
  readonly store?: string | undefined;
}

/** The bytes of an image, or a part of them, to be read once. */
export interface ImageContent {
  /** Of the whole. */
  readonly sizeBytes: number;
  readonly checksumMd5: string | null;
  /** Ends where the signal says. Buffers are reused: each is to be used up before the next is asked for. */
  read(range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** Bytes of images in and out. */
export class ImageData {
  readonly #context: AppContext;

  readonly #stores: ImageStores;

  constructor(context: AppContext, stores: ImageStores) {
    this.#context = context;
    this.#stores = stores;
  }

  /** Takes the whole body and makes the image active, or leaves it as it was and throws why. */
  async upload(caller: Caller, id: string, { open, sizeBytes, store }: ImageUpload): Promise<void> {
    const { runner } = this.#context;
    this.#requireSize(sizeBytes);
    const pool = await this.#stores.choose({ store, sizeBytes });
    const operation = await runner.run(await this.#begin(caller, id, { pool: pool.name, sizeBytes }), { open });
    if (operation.state !== "done") throw await this.#whyFailed(operation, id);
  }

  /** Undefined where the image has no bytes yet. */
  async download(caller: Caller, id: string): Promise<ImageContent | undefined> {
    const { db, pools } = this.#context;
    const image = await findVisibleImage(db, caller, id);
    requireDownload(caller, image);
    if (image.diskId === null || image.sizeBytes === null) return undefined;
    const disk = await getDisk(db, image.diskId);
    const pool = pools.get(disk.pool);
    return {
      sizeBytes: image.sizeBytes,
      checksumMd5: image.checksumMd5,
      read: (range, signal) => pool.read(disk, range, { signal }),
    };
  }

  /** Makes the image `saving` in the transaction that begins its upload: of two at once, one is refused. */
  async #begin(caller: Caller, id: string, where: { pool: PoolName; sizeBytes: number | undefined }): Promise<OperationId> {
    const { db, clock, runner } = this.#context;
    return db.transaction().execute(async (trx) => {
      const image = await findOwnImage(trx, caller, id, "upload to");
      const params = this.#paramsOf(image, where);
      await updateImage(trx, id, { status: "saving", updated_at: clock.nowMs() });
      const meta = { projectId: image.owner, userId: caller.userId, requestId: caller.requestId, subject: { kind: "image", id } };
      return runner.begin(trx, uploadImage, params, meta);
    });
  }

  #paramsOf(image: Image, { pool, sizeBytes }: { pool: PoolName; sizeBytes: number | undefined }): UploadImage {
    requireFormats(image);
    requireTransition(image, "saving");
    const { diskFormat, containerFormat } = image;
    if (diskFormat === null || containerFormat === null) throw new Error("Broken invariant: formats are set");
    return {
      imageId: image.id,
      diskId: randomUUID(),
      pool,
      format: contentFormat(diskFormat, containerFormat),
      packed: packedFormat(diskFormat, containerFormat) ?? null,
      diskFormat,
      sizeBytes: sizeBytes ?? null,
      sizeBytesMax: this.#context.config.imageSizeBytesMax,
    };
  }

  #requireSize(sizeBytes: number | undefined): void {
    const { imageSizeBytesMax } = this.#context.config;
    if (sizeBytes !== undefined && sizeBytes > imageSizeBytesMax) {
      throw new AppError("too_large", `The image has ${formatBytes(sizeBytes)}: the limit is ${formatBytes(imageSizeBytesMax)}.`);
    }
  }

  async #whyFailed(operation: OperationTable, id: string): Promise<Error> {
    if (!(await findImage(this.#context.db, id))) {
      return new AppError("gone", `Image ${id} was deleted while its bytes were uploaded: none of them was kept.`);
    }
    const { state, error_code: code, error_message: message } = operation;
    if (state !== "undone") return new AppError("interrupted", "The upload was interrupted, and is being undone.");
    if (code === "pool_full") return new AppError("image_store_full", `The image was not stored: ${message}`);
    if (code !== null && Object.hasOwn(ERRORS, code)) return new AppError(code as ErrorCode, message ?? "");
    return new Error(`Upload of image ${id} failed: ${message}`);
  }
}

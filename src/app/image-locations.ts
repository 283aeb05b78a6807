import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { findOwnImage, findVisibleImage } from "#/app/find-image.ts";
import type { VolumeUploads } from "#/app/volume-uploads.ts";
import { findDisk } from "#/db/disks.ts";
import { findImageVolume } from "#/db/image-volumes.ts";
import { updateImage } from "#/db/images.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { cinderLocation } from "#/domain/cinder-location.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError, ERRORS, type ErrorCode } from "#/domain/errors.ts";
import { diskId, type OperationId } from "#/domain/ids.ts";
import { contentFormat, type Image, packedFormat, requireFormats, requireTransition } from "#/domain/image.ts";
import { type ImageLocation, locationKind, normalLocation } from "#/domain/image-location.ts";
import { registerLocation, type RegisterLocation } from "#/saga/register-location.ts";
import type { Pool } from "#/storage/pool.ts";

export interface NewLocation {
  readonly url: string;
  /** The sha512 that the content must have; null: whatever it has. */
  readonly sha512: string | null;
}

/** Where an image is, as far as the configuration lets users see it. */
export interface Whereabouts {
  /** Where there are several stores. */
  readonly store?: string;
  readonly directUrl?: string;
  readonly locations?: readonly ImageLocation[];
}

/** Where images' bytes are: told to services and, where the operator wants that, to users; and bytes of others made images. */
export class ImageLocations {
  readonly #context: AppContext;
  readonly #uploads: Pick<VolumeUploads, "fromLocation">;

  /** `uploads` makes images of volumes, which is what a location of Cinder asks for. */
  constructor(context: AppContext, uploads: Pick<VolumeUploads, "fromLocation">) {
    this.#context = context;
    this.#uploads = uploads;
  }

  /** Glance's `get_image_location`: for services, which read the bytes in place. */
  async list(caller: Caller, id: string): Promise<ImageLocation[]> {
    requireRole(caller, "service", "see the locations of images");
    return this.#locationsOf(await findVisibleImage(this.#context.db, caller, id));
  }

  /** What is shown with each image; empty where the configuration shows nothing. */
  async whereabouts(images: readonly Image[]): Promise<ReadonlyMap<string, Whereabouts>> {
    const { showDirectUrl, showMultipleLocations } = this.#context.config.images;
    const areSeveral = this.#context.pools.withRole("images").length > 1;
    if (!showDirectUrl && !showMultipleLocations && !areSeveral) return new Map();
    const shown = await Promise.all(
      images.map(async (image): Promise<[string, Whereabouts]> => {
        const locations = await this.#locationsOf(image);
        const [first] = locations;
        return [
          image.id,
          {
            ...(areSeveral && first?.metadata["store"] !== undefined && { store: first.metadata["store"] }),
            ...(showDirectUrl && first && { directUrl: first.url }),
            ...(showMultipleLocations && { locations }),
          },
        ];
      }),
    );
    return new Map(shown);
  }

  /**
   * The new interface (Image API 2.17): begins to register, and answers before it is done. Services may name any location of a
   * store; owners of an image the URL of a web server only. Errors: 400 for what can't be, 403, 409.
   */
  async add(caller: Caller, id: string, location: NewLocation): Promise<void> {
    const operation = await this.#begin(caller, id, location);
    if (operation) void this.#context.runner.run(operation);
  }

  /** The older interface (`PATCH … /locations`): as `add()`, but for users, and it answers when the image is active. */
  async patch(caller: Caller, id: string, change: "add" | "replace" | "remove", location: NewLocation | undefined): Promise<void> {
    const { config, db } = this.#context;
    if (!config.images.showMultipleLocations) throw new AppError("forbidden", `It's not allowed to ${change} locations if locations are invisible.`);
    const image = await findOwnImage(db, caller, id, "change the locations of");
    if (image.status !== "active" && image.status !== "queued") throw new AppError("conflict", `It's not allowed to ${change} locations if image status is ${image.status}.`);
    if (change === "remove") throw new AppError(image.diskId === null ? "bad_request" : "forbidden", image.diskId === null ? "Invalid position for removing a location." : "Cannot delete last location in image.");
    if (!location) throw new AppError("forbidden", "Cannot set locations to empty list.");
    if (change === "replace" && image.diskId !== null) throw new AppError("bad_request", "Cannot replace locations from a non-empty list to a non-empty list.");
    if (image.diskId !== null) throw new AppError("quota_exceeded", "The limit has been exceeded on the number of allowed image locations. Attempted: 2, Maximum: 1");
    const operation = await this.#begin(caller, id, location);
    if (operation) await this.#finish(operation);
  }

  /** Makes the image `importing` in the transaction that begins it. Undefined: somebody else has begun it. */
  async #begin(caller: Caller, id: string, { url: given, sha512 }: NewLocation): Promise<OperationId | undefined> {
    const { db, clock, runner } = this.#context;
    const url = normalLocation(given);
    const image = await findVisibleImage(db, caller, id);
    this.#requireRegister(caller, image, url);
    if (locationKind(url) === "volume") {
      await this.#uploads.fromLocation(caller, image, url);
      return undefined;
    }
    const pool = await this.#poolOf(url);
    await this.#refuseTaken(url);
    return db.transaction().execute(async (trx) => {
      const params = this.#paramsOf(await findVisibleImage(trx, caller, id), { url, pool: pool.name, sha512 });
      await updateImage(trx, id, { status: "importing", updated_at: clock.nowMs() });
      const meta = { projectId: image.owner, userId: caller.userId, requestId: caller.requestId, subject: { kind: "image", id } };
      return runner.begin(trx, registerLocation, params, meta);
    });
  }

  /** Users can name what is public anyway; a location in a store could be another project's. */
  #requireRegister(caller: Caller, image: Image, url: string): void {
    const kind = locationKind(url);
    if (caller.isService || caller.roles.has("service") || isAdmin(caller)) return;
    const isOpen = kind === "volume" || (kind === "web" && this.#context.pools.withRole("images").some((pool) => pool.kind === "http"));
    if (isOpen && image.owner === caller.projectId && caller.roles.has("member")) return;
    throw new AppError("forbidden", `You may not add this location to image ${image.id}: only services may, and its owner where a store takes http and https URLs.`);
  }

  #paramsOf(image: Image, where: Pick<RegisterLocation, "url" | "pool" | "sha512">): RegisterLocation {
    requireFormats(image);
    if (image.status !== "queued") throw new AppError("conflict", `Image ${image.id} is ${image.status}: only a queued image can get a location.`);
    requireTransition(image, "importing");
    const { diskFormat, containerFormat } = image;
    if (diskFormat === null || containerFormat === null) throw new Error("Broken invariant: formats are set");
    const { images, imageSizeBytesMax: sizeBytesMax } = this.#context.config;
    return {
      ...where,
      imageId: image.id,
      diskId: randomUUID(),
      format: contentFormat(diskFormat, containerFormat),
      packed: packedFormat(diskFormat, containerFormat) ?? null,
      diskFormat,
      secureHash: images.secureHash,
      sizeBytesMax,
    };
  }

  /** The pool for images whose disks have such URLs: of a web server any, else the one with the same host and bucket, cluster and pool, or export. */
  async #poolOf(url: string): Promise<Pool> {
    for (const pool of this.#context.pools.takingNew("images")) if (await hasLocation(pool, url)) return pool;
    throw new AppError("bad_request", "Invalid location: no store of images has it.");
  }

  /** Bytes that a disk of ours has would go with that disk. */
  async #refuseTaken(url: string): Promise<void> {
    const [, id, suffix] = /([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(\.(?:disk|overlay|partial))?(?:\/[^/]*)?$/.exec(new URL(url).pathname) ?? [];
    const disk = id === undefined ? undefined : await findDisk(this.#context.db, diskId(id));
    if (!disk || disk.location !== undefined) return;
    // Only files of ours have such names, by whatever path they are reached.
    if (suffix === undefined && this.#context.pools.find(disk.pool)?.locate(disk) !== url) return;
    throw new AppError("conflict", "Invalid location: it belongs to another image or volume.");
  }

  async #finish(operation: OperationId): Promise<void> {
    const { state, error_code: code, error_message: message } = await this.#context.runner.run(operation);
    if (state === "done") return;
    if (code === "disk_not_found") throw new AppError("bad_request", `Invalid location: ${message}`);
    if (code !== null && Object.hasOwn(ERRORS, code)) throw new AppError(code as ErrorCode, message ?? "");
    throw new Error(`Registering a location failed: ${message}`);
  }

  async #locationsOf({ id, diskId: disk }: Pick<Image, "id" | "diskId">): Promise<ImageLocation[]> {
    const { db } = this.#context;
    const found = disk === null ? undefined : await findDisk(db, disk);
    if (!found) return [];
    const url = (await findImageVolume(db, id)) ? cinderLocation(found.pool, found.id) : this.#urlOf(found);
    return [{ url, metadata: { store: found.pool } }];
  }

  /** A pool that was never reached does not know its own place. */
  #urlOf(disk: Disk): string {
    const pool = this.#context.pools.find(disk.pool);
    return disk.location ?? (pool?.down || !pool ? `mica://${disk.pool}/${disk.id}` : pool.locate(disk));
  }
}

async function hasLocation(pool: Pool, url: string): Promise<boolean> {
  const kind = locationKind(url);
  if (kind === "web") return pool.kind === "http";
  if (pool.can.readOnly || pool.down !== undefined) return false;
  if (kind === "share") return pool.kind === "nfs" && isOnExport(pool, url);
  return isSamePlace(url, pool);
}

/** Only the pool knows its exports, and under which paths the image store sees them. */
async function isOnExport(pool: Pool, url: string): Promise<boolean> {
  try {
    return (await pool.stat(ANY_DISK, url)) !== undefined;
  } catch (error) {
    if (error instanceof AppError && (error.code === "not_supported" || error.code === "disk_not_found")) return false;
    throw error;
  }
}

/** `s3://HOST/BUCKET/…`, `rbd://FSID/POOL/…`: what disks of the pool have in common. */
function isSamePlace(url: string, pool: Pool): boolean {
  const place = (text: string) => {
    const { protocol, host, pathname } = new URL(text);
    return `${protocol}//${host}/${pathname.split("/")[1]}`;
  };
  return place(url) === place(pool.locate({ id: ANY_DISK }));
}

const ANY_DISK = diskId("00000000-0000-0000-0000-000000000000");

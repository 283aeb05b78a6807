import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { findOwnImage, findVisibleImage } from "#/app/find-image.ts";
import { listImages } from "#/db/image-lists.ts";
import {
  findImage,
  insertImage,
  loadImage,
  type ProjectImageUsage,
  projectImageUsage,
  saveImageFields,
  updateImage,
} from "#/db/images.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { imageId, type OperationId } from "#/domain/ids.ts";
import { type Image, type ImageFields, mayBecome, NO_DATA, requirePropertyCount, requireTagCount } from "#/domain/image.ts";
import { requireVisibility } from "#/domain/image-access.ts";
import type { ImageListing } from "#/domain/image-listing.ts";
import { applyChanges, type ImageChange } from "#/domain/image-patch.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { forgetImage } from "#/saga/forget-image.ts";

export interface NewImage {
  readonly id?: string | undefined;
  readonly fields: Partial<ImageFields>;
  readonly properties: Readonly<Record<string, string>>;
}

/** How long a deletion waits for the bytes to go, ms; they go in any case. */
const DELETE_WAIT_MS = 2000;

const DEFAULT_FIELDS: Omit<ImageFields, "owner"> = {
  name: null,
  visibility: "shared",
  diskFormat: null,
  containerFormat: null,
  minDiskGib: 0,
  minRamMib: 0,
  isProtected: false,
  isHidden: false,
  tags: [],
};

/** Images as records: everything but their bytes. */
export class Images {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  /** Records an image without bytes, `queued`. */
  async create(caller: Caller, { id, fields, properties }: NewImage): Promise<Image> {
    requireRole(caller, "member", "create images");
    const now = this.#context.clock.nowMs();
    const image: Image = {
      ...DEFAULT_FIELDS,
      owner: caller.projectId,
      ...fields,
      tags: [...new Set(fields.tags)],
      ...NO_DATA,
      id: imageId(id ?? randomUUID()),
      status: "queued",
      diskId: null,
      properties,
      createdAtMs: now,
      updatedAtMs: now,
    };
    requireCreate(caller, image);
    await this.#context.db.transaction().execute(async (trx) => {
      if (await findImage(trx, image.id)) throw new AppError("conflict", `Image ID ${image.id} already exists!`);
      await insertImage(trx, image);
    });
    return image;
  }

  /** One page. `bad_request` where the marker is no image that the caller sees. */
  async list(caller: Caller, request: Omit<ImageListing, "viewer">): Promise<Image[]> {
    requireRole(caller, "reader", "list images");
    const { db } = this.#context;
    const listing = { ...request, viewer: { projectId: caller.projectId, isAdmin: isAdmin(caller) } };
    if (request.markerId === undefined) return listImages(db, listing, undefined);
    await findVisibleImage(db, caller, request.markerId).catch(refuseMarker);
    return listImages(db, listing, await findImage(db, request.markerId));
  }

  async show(caller: Caller, id: string): Promise<Image> {
    return findVisibleImage(this.#context.db, caller, id);
  }

  /** Applies all changes or none. */
  async update(caller: Caller, id: string, changes: readonly ImageChange[]): Promise<Image> {
    return this.#context.db.transaction().execute(async (trx) => {
      const image = await findOwnImage(trx, caller, id, "change");
      if (changes.length === 0) return image;
      const changed = { ...applyChanges(image, changes, caller), updatedAtMs: this.#context.clock.nowMs() };
      await saveImageFields(trx, changed);
      return (await loadImage(trx, id)) ?? changed;
    });
  }

  /** The record is gone when this answers; the bytes mostly too. */
  async delete(caller: Caller, id: string): Promise<void> {
    const operation = await this.#removeRecord(caller, id);
    const ended = this.#context.runner.run(operation);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, DELETE_WAIT_MS).unref())]);
  }

  /** Hides the bytes from all but administrators. Again is no error. */
  async deactivate(caller: Caller, id: string): Promise<void> {
    await this.#setActive(caller, id, "deactivate", "deactivated");
  }

  async reactivate(caller: Caller, id: string): Promise<void> {
    await this.#setActive(caller, id, "reactivate", "active");
  }

  async addTag(caller: Caller, id: string, tag: string): Promise<void> {
    await this.#changeTags(caller, id, (tags) => (tags.includes(tag) ? tags : [...tags, tag]));
  }

  async removeTag(caller: Caller, id: string, tag: string): Promise<void> {
    await this.#changeTags(caller, id, (tags) => {
      if (!tags.includes(tag)) throw new AppError("not_found", `Tag ${tag} of image ${id} could not be found.`);
      return tags.filter((other) => other !== tag);
    });
  }

  /** What the caller's project has. */
  async usage(caller: Caller): Promise<ProjectImageUsage> {
    requireRole(caller, "reader", "see the usage of images");
    return projectImageUsage(this.#context.db, caller.projectId);
  }

  async #removeRecord(caller: Caller, id: string): Promise<OperationId> {
    const { db, runner } = this.#context;
    return db.transaction().execute(async (trx) => {
      const image = await findOwnImage(trx, caller, id, "delete");
      if (image.isProtected) throw new AppError("forbidden", `Image ${id} is protected and cannot be deleted.`);
      const keptDiskId = await forgetImage(trx, id);
      const meta = { projectId: image.owner, userId: caller.userId, requestId: caller.requestId, subject: { kind: "image", id } };
      return runner.begin(trx, deleteImage, { imageId: id, diskId: image.diskId, keptDiskId }, meta);
    });
  }

  async #setActive(caller: Caller, id: string, what: string, status: "active" | "deactivated"): Promise<void> {
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      const image = await findOwnImage(trx, caller, id, what);
      if (image.status === status) return;
      const isStored = image.status === "active" || image.status === "deactivated";
      if (!isStored || !mayBecome(image.status, status))
        throw new AppError("forbidden", `Not allowed to ${what} image in status '${image.status}'`);
      await updateImage(trx, id, { status, updated_at: clock.nowMs() });
    });
  }

  async #changeTags(caller: Caller, id: string, change: (tags: readonly string[]) => readonly string[]): Promise<void> {
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      const image = await findOwnImage(trx, caller, id, "change the tags of");
      const tags = change(image.tags);
      if (tags === image.tags) return;
      requireTagCount(tags);
      await saveImageFields(trx, { ...image, tags, updatedAtMs: clock.nowMs() });
    });
  }
}

function requireCreate(caller: Caller, image: Image): void {
  if (!isAdmin(caller) && image.owner !== caller.projectId) {
    throw new AppError("forbidden", `You are not permitted to create images owned by '${image.owner}'.`);
  }
  requireVisibility(caller, image.visibility);
  requireTagCount(image.tags);
  requirePropertyCount(image.properties);
}

function refuseMarker(error: unknown): never {
  if (error instanceof AppError && error.code === "not_found") throw new AppError("bad_request", error.message, { cause: error });
  throw error;
}

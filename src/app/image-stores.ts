import type { AppContext } from "#/app/context.ts";
import { poolFacts } from "#/app/pool-facts.ts";
import { findVisibleImage } from "#/app/find-image.ts";
import { getDisk } from "#/db/disks.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { requireChange } from "#/domain/image-access.ts";
import { formatBytes } from "#/lib/units.ts";
import type { Pool } from "#/storage/pool.ts";

/** A pool for images, as Glance's users know it. */
export interface ImageStore {
  readonly id: string;
  readonly type: string;
  readonly isDefault: boolean;
  readonly isReadOnly: boolean;
}

/** Glance's stores are the pools with the role images; its multi-store interface shows where there are several. */
export class ImageStores {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  /** Whether users can choose among several. */
  get areSeveral(): boolean {
    return this.#context.pools.withRole("images").length > 1;
  }

  /** `not_found` where there is one store only. */
  list(caller: Caller): ImageStore[] {
    requireRole(caller, "reader", "see the stores of images");
    this.#requireSeveral();
    return this.#stores();
  }

  /** As `list()`; the details are for operators and services. */
  details(caller: Caller): ImageStore[] {
    if (!isAdmin(caller)) requireRole(caller, "service", "see the details of stores");
    this.#requireSeveral();
    return this.#stores();
  }

  has(store: string): boolean {
    return this.#context.pools.withRole("images").some(({ name }) => name === store);
  }

  /** The names of those that take uploads; none where there is no choice. */
  writable(): string[] {
    return this.areSeveral ? this.#stores().flatMap(({ id, isReadOnly }) => (isReadOnly ? [] : [id])) : [];
  }

  /**
   * The pool that an upload goes to: the one it names, else the first with room, in the operator's order; where none has, the
   * first, whose refusal then says so. `bad_request` for a name that no store has, or that takes no uploads.
   */
  async choose({ store, sizeBytes = 0 }: { readonly store: string | undefined; readonly sizeBytes: number | undefined }): Promise<Pool> {
    if (store !== undefined) return this.#named(store);
    const pools = this.#context.pools.takingNew("images").filter(({ can }) => !can.readOnly);
    const [first] = pools;
    if (!first) throw new AppError("pool_unavailable", "No store takes uploads now: those that are up are read-only.");
    if (pools.length === 1) return first;
    for (const pool of pools) if (await this.#hasRoom(pool, sizeBytes)) return pool;
    return first;
  }

  /** Takes the copy in one store away; an image has one copy, which is its last. */
  async removeFrom(caller: Caller, store: string, imageId: string): Promise<never> {
    this.#requireSeveral();
    const { db } = this.#context;
    const image = await findVisibleImage(db, caller, imageId);
    requireChange(caller, image, "change the stores of");
    const disk = image.diskId === null ? undefined : await getDisk(db, image.diskId);
    if (disk?.pool !== store) throw new AppError("not_found", `Image ${imageId} is not stored in ${store}.`);
    throw new AppError("forbidden", `Cannot delete image ${imageId} from ${store}: this is its only location. Delete the image instead.`);
  }

  #stores(): ImageStore[] {
    const pools = this.#context.pools.withRole("images");
    const preferred = pools.find(({ can }) => !can.readOnly);
    return pools.map((pool) => ({ id: pool.name, type: pool.kind, isDefault: pool === preferred, isReadOnly: pool.can.readOnly === true }));
  }

  #named(store: string): Pool {
    const pool = this.#context.pools.withRole("images").find(({ name }) => name === store);
    if (!pool) throw new AppError("bad_request", `Store ${store} is not among the stores of images.`);
    if (pool.can.readOnly) throw new AppError("bad_request", `Store ${store} is read-only: images get there by their locations.`);
    if (pool.closed !== undefined) throw new AppError("pool_unavailable", `Store ${store} takes no uploads now: ${pool.closed}.`);
    return pool;
  }

  async #hasRoom(pool: Pool, sizeBytes: number): Promise<boolean> {
    const { room, closed } = await poolFacts(this.#context.db, pool, []);
    if (!room || closed !== undefined) return false;
    const fits = room.freeBytes - room.reservedBytes - (room.totalBytes * pool.limits.reservedPercentage) / 100 > sizeBytes;
    if (!fits) this.#context.log.info({ pool: pool.name, free: formatBytes(room.freeBytes) }, "store passed over for an upload: it has no room");
    return fits;
  }

  #requireSeveral(): void {
    if (!this.areSeveral) throw new AppError("not_found", "Multi backend is not supported at this site.");
  }
}

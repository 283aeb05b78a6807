import type { AppContext } from "#/app/context.ts";
import { findVisibleImage } from "#/app/find-image.ts";
import type { Materialise } from "#/app/materialise.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { OperationId } from "#/domain/ids.ts";
import { precacheImage } from "#/saga/precache-image.ts";

/** Images that are made ready for servers to come. */
export class ImagePrecaching {
  readonly #context: AppContext;
  readonly #materialise: Pick<Materialise, "planServerDisk">;

  constructor(context: AppContext, materialise: Pick<Materialise, "planServerDisk">) {
    this.#context = context;
    this.#materialise = materialise;
  }

  /** Begins an operation for each image, where the servers' disks would be. 400 for one that is not there, or has no bytes. */
  async begin(caller: Caller, imageIds: readonly string[]): Promise<void> {
    requireRole(caller, "admin", "have images cached");
    const operations: OperationId[] = [];
    for (const imageId of imageIds) operations.push(await this.#begin(caller, imageId));
    for (const operation of operations) void this.#context.runner.run(operation);
  }

  async #begin(caller: Caller, imageId: string): Promise<OperationId> {
    const { db, config, runner } = this.#context;
    const image = await findVisibleImage(db, caller, imageId).catch((error) => {
      throw asAppError(error)?.code === "not_found" ? new AppError("bad_request", `Image ${imageId} could not be found.`, { cause: error }) : error;
    });
    if (image.status !== "active") throw new AppError("bad_request", `Image ${imageId} is not active.`);
    const { imagesType, useCowImages } = config.servers;
    const plan = await this.#materialise.planServerDisk({ source: { kind: "image", id: imageId }, imagesType, useCowImages });
    const meta = { projectId: caller.projectId, userId: caller.userId, requestId: caller.requestId, subject: { kind: "image", id: imageId }, plan };
    return db.transaction().execute((trx) => runner.begin(trx, precacheImage, { imageId }, meta));
  }
}

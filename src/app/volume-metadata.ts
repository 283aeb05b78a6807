import type { AppContext } from "#/app/context.ts";
import type { Volumes } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, volumeImageMetadata, volumeMetadata } from "#/db/key-values.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { refuseMaintenance } from "#/domain/volume.ts";

/** The names and values that belong to volumes: the user's own, and those that came with the image. */
export class VolumeMetadata {
  readonly #context: AppContext;
  readonly #volumes: Volumes;

  constructor(context: AppContext, volumes: Volumes) {
    this.#context = context;
    this.#volumes = volumes;
  }

  async all(caller: Caller, volumeId: string): Promise<KeyValuePairs> {
    return (await this.#volumes.get(caller, volumeId)).metadata;
  }

  async one(caller: Caller, volumeId: string, name: string): Promise<string> {
    const value = (await this.all(caller, volumeId))[name];
    if (value === undefined) throw noSuchKey(volumeId, name);
    return value;
  }

  /** Adds the pairs to those that are there, and gives them all. */
  async merge(caller: Caller, volumeId: string, pairs: KeyValuePairs): Promise<KeyValuePairs> {
    await this.#change(caller, volumeId, (trx) => volumeMetadata.merge(trx, volumeId, pairs));
    return this.all(caller, volumeId);
  }

  async replace(caller: Caller, volumeId: string, pairs: KeyValuePairs): Promise<KeyValuePairs> {
    await this.#change(caller, volumeId, (trx) => volumeMetadata.replace(trx, volumeId, pairs));
    return this.all(caller, volumeId);
  }

  async remove(caller: Caller, volumeId: string, name: string): Promise<void> {
    await this.#change(caller, volumeId, async (trx) => {
      if (!(await volumeMetadata.remove(trx, volumeId, name))) throw noSuchKey(volumeId, name);
    });
  }

  async ofImage(caller: Caller, volumeId: string): Promise<KeyValuePairs> {
    return (await this.#volumes.get(caller, volumeId)).imageMetadata;
  }

  async mergeOfImage(caller: Caller, volumeId: string, pairs: KeyValuePairs): Promise<KeyValuePairs> {
    await this.#change(caller, volumeId, (trx) => volumeImageMetadata.merge(trx, volumeId, pairs));
    return this.ofImage(caller, volumeId);
  }

  async removeOfImage(caller: Caller, volumeId: string, name: string): Promise<void> {
    await this.#change(caller, volumeId, async (trx) => {
      if (await volumeImageMetadata.remove(trx, volumeId, name)) return;
      throw new AppError("not_found", "Metadata item was not found.");
    });
  }

  async #change(caller: Caller, volumeId: string, change: (trx: Database) => Promise<void>): Promise<void> {
    requireRole(caller, "member", "change the metadata of volumes");
    await this.#context.db.transaction().execute(async (trx) => {
      const { status } = await this.#volumes.find(trx, caller, volumeId);
      refuseMaintenance(status, "The metadata cannot be changed");
      await change(trx);
    });
  }
}

/** 404 in Cinder's words (exception.VolumeMetadataNotFound). */
function noSuchKey(volumeId: string, name: string): AppError {
  return new AppError("not_found", `Volume ${volumeId} has no metadata with key ${name}.`);
}

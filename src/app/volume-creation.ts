import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { findVisibleImage } from "#/app/find-image.ts";
import type { Materialise, VolumeSource } from "#/app/materialise.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { Snapshots } from "#/app/snapshots.ts";
import type { VolumeTypes } from "#/app/volume-types.ts";
import { type Volume, type Volumes, withDetailsOf } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, volumeImageMetadata, volumeMetadata } from "#/db/key-values.ts";
import type { VolumeTable, VolumeTypeTable } from "#/db/tables.ts";
import { findVolumeType } from "#/db/volume-types.ts";
import { insertVolume } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { OperationId, PoolName } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import { volumeQuota } from "#/domain/quota.ts";
import { invalidInput } from "#/domain/volume.ts";
import { imageMetadataOf, refuseSourceImage, refuseSourceSnapshot, refuseSourceVolume } from "#/domain/volume-source.ts";
import { volumeTypeNotFound } from "#/domain/volume-type.ts";
import { GiB, gibibytesFor } from "#/lib/units.ts";
import type { Plan } from "#/planner/plan.ts";
import { createVolume } from "#/saga/create-volume.ts";

export interface NewVolume {
  readonly name: string | null;
  readonly description: string | null;
  /** Undefined: as large as the snapshot or volume that it is made of. */
  readonly sizeGib?: number | undefined;
  readonly imageId?: string | undefined;
  readonly snapshotId?: string | undefined;
  readonly sourceVolumeId?: string | undefined;
  /** Id or name. */
  readonly volumeType?: string | undefined;
  readonly availabilityZone?: string | undefined;
  readonly metadata: KeyValuePairs;
}

/** Where the content comes from, and what the new record takes over from there. */
interface Source {
  readonly ref: VolumeSource;
  readonly sizeGib?: number;
  readonly volumeType?: string | undefined;
  readonly bootable: boolean;
  readonly imageMetadata: KeyValuePairs;
  /** Throws 400 or 404 where a volume of that size cannot be made of it, as it is now. */
  refuse(db: Database, sizeGib: number): Promise<void>;
}

interface VolumeCreationParts {
  readonly volumes: Volumes;
  readonly snapshots: Pick<Snapshots, "find">;
  readonly volumeTypes: VolumeTypes;
  readonly quotas: Quotas;
  readonly materialise: Pick<Materialise, "planVolume">;
}

/** Makes volumes: blank ones, and from an image, a snapshot or another volume. */
export class VolumeCreation {
  readonly #context: AppContext;
  readonly #parts: VolumeCreationParts;

  constructor(context: AppContext, parts: VolumeCreationParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /**
   * Records the volume, takes its quota, and starts to make it; it is `creating` when this returns. Refuses with 400 what does not
   * fit, 404 what the caller cannot see, 413 what is beyond the quota, and `pool_full` where no pool has room.
   */
  async create(caller: Caller, request: NewVolume): Promise<Volume> {
    const { db, runner } = this.#context;
    const prepared = await this.prepare(caller, request);
    const { operationId, volume } = await db.transaction().execute((trx) => this.record(trx, caller, prepared));
    void runner.run(operationId);
    return volume;
  }

  /** Only the plan: what `create` would do now. Refuses as `create` does, but for the quota. */
  async plan(caller: Caller, request: NewVolume): Promise<Plan> {
    requireRole(caller, "reader", "plan volumes");
    return (await this.#decide(caller, request)).plan;
  }

  /** All of `create` that is done before its transaction: for those who make volumes together with other records. */
  async prepare(caller: Caller, request: NewVolume): Promise<PreparedVolume> {
    requireRole(caller, "member", "create volumes");
    return this.#decide(caller, request);
  }

  /** Records a prepared volume and takes its quota; run the operation once the transaction is committed. */
  async record(trx: Database, caller: Caller, { request, source, sizeGib, type, plan, pool }: PreparedVolume): Promise<{ operationId: OperationId; volume: Volume }> {
    const row = this.#row(caller, { request, source, sizeGib, type, pool });
    if (!(await findVolumeType(trx, type.id))) throw volumeTypeNotFound(type.id);
    await source.refuse(trx, sizeGib);
    await this.#parts.quotas.take(trx, caller.projectId, volumeQuota(row.size_bytes, type.name));
    await insertVolume(trx, row);
    await volumeMetadata.merge(trx, row.id, request.metadata);
    await volumeImageMetadata.merge(trx, row.id, source.imageMetadata);
    const subject = { kind: "volume", id: row.id };
    const meta = { projectId: caller.projectId, userId: caller.userId, requestId: caller.requestId, subject, plan };
    return { operationId: await this.#context.runner.begin(trx, createVolume, { volumeId: row.id }, meta), volume: await withDetailsOf(trx, row) };
  }

  async #decide(caller: Caller, request: NewVolume): Promise<PreparedVolume> {
    const { volumeTypes, quotas } = this.#parts;
    this.#refuseZone(request.availabilityZone);
    const source = await this.#source(caller, request);
    const sizeGib = request.sizeGib ?? source.sizeGib;
    if (sizeGib === undefined) throw noSize();
    await source.refuse(this.#context.db, sizeGib);
    await quotas.refuseLargerVolume(this.#context.db, caller.projectId, sizeGib);
    const type = await volumeTypes.resolve(caller, request.volumeType ?? source.volumeType);
    return { request, source, sizeGib, type, ...(await this.#plan(source, sizeGib, type)) };
  }

  async #plan(source: Source, sizeGib: number, type: VolumeTypeTable): Promise<{ plan: Plan; pool: PoolName }> {
    const extraSpecs = await this.#parts.volumeTypes.extraSpecsOf(type.id);
    return this.#parts.materialise.planVolume({
      source: source.ref,
      sizeBytes: sizeGib * GiB,
      volumeType: { name: type.name, extraSpecs },
    });
  }

  #row(caller: Caller, { request, source, sizeGib, type, pool }: Omit<PreparedVolume, "plan">): VolumeTable {
    const { clock, config } = this.#context;
    const now = clock.nowMs();
    return {
      id: randomUUID(),
      project_id: caller.projectId,
      user_id: caller.userId,
      name: request.name,
      description: request.description,
      status: "creating",
      previous_status: null,
      size_bytes: sizeGib * GiB,
      availability_zone: config.availabilityZone,
      volume_type_id: type.id,
      bootable: Number(source.bootable),
      readonly: 0,
      multiattach: 0,
      attach_status: "detached",
      migration_status: null,
      snapshot_id: request.snapshotId ?? null,
      source_volume_id: request.sourceVolumeId ?? null,
      image_id: request.imageId ?? null,
      pool,
      disk_id: null,
      created_at: now,
      updated_at: now,
    };
  }

  #refuseZone(zone: string | undefined): void {
    if (zone === undefined || zone === this.#context.config.availabilityZone) return;
    throw new AppError("bad_request", `Availability zone '${zone}' is invalid.`);
  }

  async #source(caller: Caller, { imageId, snapshotId, sourceVolumeId }: NewVolume): Promise<Source> {
    const named = [imageId, snapshotId, sourceVolumeId].filter((id) => id !== undefined);
    if (named.length > 1) throw invalidInput("May specify only one of snapshot_id, source_volid or imageRef.");
    if (imageId !== undefined) return this.#fromImage(caller, imageId);
    if (snapshotId !== undefined) return this.#fromSnapshot(caller, snapshotId);
    if (sourceVolumeId !== undefined) return this.#fromVolume(caller, sourceVolumeId);
    return { ref: { kind: "blank" }, bootable: false, imageMetadata: {}, refuse: async () => {} };
  }

  async #fromImage(caller: Caller, id: string): Promise<Source> {
    const image = await findSourceImage(this.#context.db, caller, id);
    return {
      ref: { kind: "image", id },
      volumeType: image.properties["cinder_img_volume_type"],
      bootable: true,
      imageMetadata: imageMetadataOf(image),
      refuse: async (_db, sizeGib) => refuseSourceImage(image, sizeGib),
    };
  }

  async #fromSnapshot(caller: Caller, id: string): Promise<Source> {
    const { snapshots, volumes } = this.#parts;
    const snapshot = await snapshots.find(this.#context.db, caller, id);
    const volume = await volumes.get(caller, snapshot.volume_id);
    return {
      ref: { kind: "snapshot", id },
      sizeGib: gibibytesFor(snapshot.size_bytes),
      volumeType: volume.volume_type_id,
      bootable: volume.bootable === 1,
      imageMetadata: volume.imageMetadata,
      refuse: async (db, sizeGib) => refuseSourceSnapshot(await snapshots.find(db, caller, id), sizeGib),
    };
  }

  async #fromVolume(caller: Caller, id: string): Promise<Source> {
    const { volumes } = this.#parts;
    const volume = await volumes.get(caller, id);
    return {
      ref: { kind: "volume", id },
      sizeGib: gibibytesFor(volume.size_bytes),
      volumeType: volume.volume_type_id,
      bootable: volume.bootable === 1,
      imageMetadata: volume.imageMetadata,
      refuse: async (db, sizeGib) => refuseSourceVolume(await volumes.find(db, caller, id), sizeGib),
    };
  }
}

/** What is known of a volume before its record is made. */
export interface PreparedVolume {
  readonly request: NewVolume;
  readonly source: Source;
  readonly sizeGib: number;
  readonly type: VolumeTypeTable;
  readonly plan: Plan;
  readonly pool: PoolName;
}

/** 404 in Cinder's words (exception.ImageNotFound). */
async function findSourceImage(db: Database, caller: Caller, id: string): Promise<Image> {
  try {
    return await findVisibleImage(db, caller, id);
  } catch (error) {
    if (asAppError(error)?.code !== "not_found") throw error;
    throw new AppError("not_found", `Image ${id} could not be found.`, { cause: error });
  }
}

function noSize(): AppError {
  return invalidInput(
    "Invalid volume size provided for create request: None (size argument must be an integer (or string representation of an integer) and greater than zero).",
  );
}

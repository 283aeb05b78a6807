import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { imageFormOf } from "#/app/image-form.ts";
import { Materialise } from "#/app/materialise.ts";
import { findOpenVolume, planOpenVolume, type VolumeCapture } from "#/app/open-volume.ts";
import { Quotas } from "#/app/quotas.ts";
import { planAtRest, staysInPlace, storeOf } from "#/app/upload-plans.ts";
import { Volumes } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import { insertImageVolume } from "#/db/image-volumes.ts";
import { findImage, insertImage, updateImage } from "#/db/images.ts";
import { volumeImageMetadata } from "#/db/key-values.ts";
import type { VolumeTable, VolumeTypeTable } from "#/db/tables.ts";
import { findVolumeType } from "#/db/volume-types.ts";
import { changeVolumeIn, findVolume } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { volumeOfCinderLocation } from "#/domain/cinder-location.ts";
import type { ImageForm } from "#/domain/compression.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { imageId, type PoolName, poolName } from "#/domain/ids.ts";
import { type ContainerFormat, type Image, type ImageDiskFormat, NO_DATA, requireFormats, requirePropertyCount, requireTransition, type Visibility } from "#/domain/image.ts";
import { requireVisibility } from "#/domain/image-access.ts";
import { volumeQuota } from "#/domain/quota.ts";
import { invalidVolume, orList, VOLUME_TRANSITIONS } from "#/domain/volume.ts";
import { inheritedProperties } from "#/domain/volume-source.ts";
import type { Plan } from "#/planner/plan.ts";
import { captureServer } from "#/saga/capture-server.ts";
import { uploadVolume } from "#/saga/upload-volume.ts";

export interface ImageOfVolume {
  readonly name: string;
  readonly diskFormat: ImageDiskFormat;
  readonly containerFormat: ContainerFormat;
  readonly visibility: Visibility;
  readonly isProtected: boolean;
  /** Also of a volume that is in use, where the operator allows it. */
  readonly force: boolean;
}

/** An upload that has begun: the volume as it was, its type, and the image that will be. */
export interface StartedUpload {
  readonly volume: VolumeTable;
  readonly volumeType: VolumeTypeTable;
  readonly image: Image;
}

/** Whose volume the image counts as, where its bytes stay in the volume's pool. */
interface ImageVolumeOwner {
  readonly projectId: string;
  readonly userId: string;
}

interface Upload {
  readonly plan: Plan;
  /** Of a volume that a guest has open. */
  readonly capture?: VolumeCapture | undefined;
  readonly owner?: ImageVolumeOwner | undefined;
  readonly from: readonly string[];
  /** Records the image, or takes one that is there already; its id. `keepsImage`: a failure leaves it `queued`. */
  readonly record: (trx: Database, volume: VolumeTable) => Promise<string>;
  readonly keepsImage: boolean;
}

/** Makes images of volumes: each starts an operation, and returns when it is recorded. */
export class VolumeUploads {
  readonly #context: AppContext;
  readonly #volumes: Volumes;
  readonly #quotas: Quotas;
  readonly #materialise: Materialise;

  constructor(context: AppContext) {
    this.#context = context;
    this.#volumes = new Volumes(context);
    this.#quotas = new Quotas(context);
    this.#materialise = new Materialise(context);
  }

  /**
   * Records an image, `saving`, so that nobody else gives it bytes, and starts to fill it from the volume, which is `uploading` meanwhile. 400 where the volume's status,
   * the formats or the configuration are against it: nothing is recorded then.
   */
  async toImage(caller: Caller, id: string, request: ImageOfVolume): Promise<StartedUpload> {
    requireRole(caller, "member", "make images of volumes");
    requireVisibility(caller, request.visibility);
    const { db, config } = this.#context;
    const before = await this.#volumes.find(db, caller, id);
    const { from } = this.#mayUploadInUse(request) ? VOLUME_TRANSITIONS.uploadInUse : VOLUME_TRANSITIONS.upload;
    if (!(from as readonly string[]).includes(before.status)) throw notNow(before, from);
    const form = imageFormOf(config, request);
    const image = this.#newImage(caller, request, inheritedProperties(await volumeImageMetadata.of(db, id)));
    const record = async (trx: Database) => {
      await insertImage(trx, image);
      return image.id;
    };
    const started = await this.#startWherePossible(caller, before, { form, from, record, keepsImage: false });
    return { ...started, image };
  }

  /**
   * Makes a volume's content that of an image: what a location `cinder://VOLUME` asks for. The image gets a copy, or a clone, of what
   * the volume holds now, in the volume's own pool; the volume may change or go later. Only raw, bare images without bytes, of a
   * volume of the image's own project, and where `allowedDirectUrlSchemes` has `cinder`: else 400, 404, 409.
   */
  async fromLocation(caller: Caller, image: Image, url: string): Promise<void> {
    const { db, config, pools } = this.#context;
    const volumeId = volumeOfCinderLocation(url, config.allowedDirectUrlSchemes);
    requireFormats(image);
    requireTransition(image, "saving");
    if (image.diskFormat !== "raw" || image.containerFormat !== "bare") throw new AppError("bad_request", "Only a raw, bare image can be a volume.");
    const volume = await findVolume(db, volumeId);
    if (volume?.project_id !== image.owner || !volume) throw new AppError("not_found", `Volume ${volumeId} could not be found.`);
    const plan = await this.#materialise.planImage({ volumeId, form: { diskFormat: "raw" }, pool: pools.get(poolName(volume.pool)).name });
    const record = async (trx: Database) => {
      const now = await findImage(trx, image.id);
      if (now?.status !== "queued") throw new AppError("conflict", `Image ${image.id} is ${now?.status ?? "deleted"}: it cannot get a location.`);
      await updateImage(trx, image.id, { status: "saving", updated_at: this.#context.clock.nowMs() });
      return image.id;
    };
    const from = VOLUME_TRANSITIONS.upload.from;
    await this.#start(caller, volumeId, { plan, owner: this.#ownerOf(volume, caller), from, record, keepsImage: true });
  }

  /** As the pool's options say; where the quota has no room for one volume more, as Cinder, in the images' own store. */
  async #startWherePossible(caller: Caller, volume: VolumeTable, { form, ...upload }: Omit<Upload, "plan" | "owner"> & { form: ImageForm }) {
    if (staysInPlace(this.#context.pools, volume, form)) {
      try {
        return await this.#startAt(caller, volume, { form, pool: poolName(volume.pool) }, { ...upload, owner: this.#ownerOf(volume, caller) });
      } catch (error) {
        if (asAppError(error)?.code !== "quota_exceeded") throw error;
        this.#context.log.warn({ volume: volume.id, err: error }, "the image of the volume cannot stay in its pool");
      }
    }
    return this.#startAt(caller, volume, { form, store: await storeOf(this.#context.db, volume) }, upload);
  }

  /** From a guest that has the volume open its bytes of one instant are captured. */
  async #startAt(caller: Caller, volume: VolumeTable, where: { form: ImageForm; store?: string | undefined; pool?: PoolName }, upload: Omit<Upload, "plan" | "capture">) {
    const open = await findOpenVolume(this.#context, volume);
    if (!open) return this.#start(caller, volume.id, { ...upload, plan: await planAtRest(this.#context, this.#materialise, volume, where) });
    const capture = await planOpenVolume(this.#context, this.#materialise, open, { volume, where });
    return this.#start(caller, volume.id, { ...upload, plan: capture.plan, capture });
  }

  async #start(caller: Caller, id: string, { plan, capture, owner, from, record, keepsImage }: Upload): Promise<Omit<StartedUpload, "image">> {
    const { db, clock, runner } = this.#context;
    const { operationId, ...started } = await db.transaction().execute(async (trx) => {
      const volume = await findVolume(trx, id);
      const changes = { status: VOLUME_TRANSITIONS.upload.to, previous_status: volume?.status ?? null, updated_at: clock.nowMs() };
      if (!volume || !(await changeVolumeIn(trx, id, { from, changes }))) throw notNow({ id, status: volume?.status ?? "deleted" }, from);
      const volumeType = await findVolumeType(trx, volume.volume_type_id);
      if (!volumeType) throw new Error(`Broken invariant: volume ${id} has a type`);
      const imageId = await record(trx, volume);
      if (owner) await this.#charge(trx, owner, { volume, volumeType, imageId });
      const meta = { projectId: volume.project_id, userId: caller.userId, requestId: caller.requestId, subject: { kind: "volume", id }, plan };
      const params = { volumeId: id, imageId, previousStatus: volume.status, keepsImage };
      const begun = capture ? runner.begin(trx, captureServer, { ...capture.as({ kind: "image", id: imageId }), imageId, upload: params }, meta) : runner.begin(trx, uploadVolume, params, meta);
      return { operationId: await begun, volume, volumeType };
    });
    void runner.run(operationId);
    return started;
  }

  /** Such an image takes a volume of its owner's quota, as the volume that it is in Cinder. */
  async #charge(trx: Database, owner: ImageVolumeOwner, { volume, volumeType, imageId }: { volume: VolumeTable; volumeType: VolumeTypeTable; imageId: string }): Promise<void> {
    const { size_bytes, volume_type_id } = volume;
    await this.#quotas.take(trx, owner.projectId, volumeQuota(size_bytes, volumeType.name));
    await insertImageVolume(trx, { image_id: imageId, project_id: owner.projectId, user_id: owner.userId, volume_type_id, size_bytes });
  }

  #ownerOf({ pool, project_id }: VolumeTable, { userId }: Caller): ImageVolumeOwner {
    const { limits } = this.#context.pools.get(poolName(pool));
    const { internalTenantProjectId: tenant, internalTenantUserId: tenantUser } = this.#context.config;
    const isInternal = limits.imageUploadUseInternalTenant && tenant !== undefined && tenantUser !== undefined;
    return isInternal ? { projectId: tenant, userId: tenantUser } : { projectId: project_id, userId };
  }

  /** Without the operator's leave `force` is ignored, as Cinder does it. */
  #mayUploadInUse({ force }: ImageOfVolume): boolean {
    return force && this.#context.config.enableForceUpload;
  }

  #newImage(caller: Caller, { name, diskFormat, containerFormat, visibility, isProtected }: ImageOfVolume, properties: Image["properties"]): Image {
    requirePropertyCount(properties);
    const nowMs = this.#context.clock.nowMs();
    return {
      ...NO_DATA,
      id: imageId(randomUUID()),
      name,
      owner: caller.projectId,
      visibility,
      diskFormat,
      containerFormat,
      minDiskGib: 0,
      minRamMib: 0,
      isProtected,
      isHidden: false,
      tags: [],
      status: "saving",
      diskId: null,
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
      properties,
    };
  }
}

function notNow({ id, status }: Pick<VolumeTable, "id" | "status">, from: readonly string[]): AppError {
  return invalidVolume(`Volume ${id} status must be ${orList(from)}, but current status is: ${status}.`);
}

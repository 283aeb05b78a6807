import { findDisk, setDiskHolder } from "#/db/disks.ts";
import { findImage, removeImage, updateImage } from "#/db/images.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { beginHashImage, hashImageDisk } from "#/saga/hash-image.ts";
import { discardTarget, fillTarget, type Materialisation, planOf, recordTarget, sourceDisk } from "#/saga/materialise.ts";
import { tellUser } from "#/saga/tell-user.ts";

export interface UploadVolume {
  readonly volumeId: string;
  readonly imageId: string;
  /** The status that the volume had, and gets again. */
  readonly previousStatus: string;
}

type Context = SagaContext<UploadVolume>;

/**
 * Makes an image of a volume. The image is `queued` and the volume `uploading` already; at the end the image is `active`, or
 * gone, and the volume as it was. Where nothing is moved the image is usable at once, and its hash follows.
 */
export const uploadVolume: Saga<Context> = {
  name: "upload-volume",
  steps: [
    {
      name: "record",
      run: saveImage,
      undo: giveUp,
    },
    {
      name: "freeze",
      run: adopt,
      undo: unadopt,
    },
    {
      name: "materialise",
      run: materialise,
      undo: async (context) => {
        if (planOf(context).strategy !== "adopt") await discardTarget(context, targetOf(context));
      },
    },
    {
      name: "hash",
      run: hash,
    },
    {
      name: "publish",
      run: publish,
      undo: ({ db, params }) => updateImage(db, params.imageId, { disk_id: null }),
    },
    {
      name: "restore",
      run: restoreVolume,
    },
  ],
};

async function saveImage({ db, clock, params }: Context): Promise<void> {
  const image = await findImage(db, params.imageId);
  if (!image) throw new AppError("gone", "The image was deleted before the volume could be copied into it.");
  if (image.status === "queued") await updateImage(db, params.imageId, { status: "saving", updated_at: clock.nowMs() });
}

/** The frozen bytes of the volume become the image's own disk. */
async function adopt(context: Context): Promise<void> {
  const plan = planOf(context);
  if (plan.strategy !== "adopt") return;
  const target = targetOf(context);
  const source = await volumeDisk(context);
  await freezeDisk(context, source, target.id, target.holder);
  await context.report({ strategy: "adopt", bytesRead: 0, bytesWritten: 0, bytesThroughUs: 0, bytesTemporary: 0 });
  await flattenBeyondLimit(context, source);
}

async function unadopt(context: Context): Promise<void> {
  if (planOf(context).strategy !== "adopt") return;
  const target = targetOf(context);
  await unfreezeDisk(context, (await volumeDisk(context).catch(() => undefined)) ?? target.id, target.id);
}

async function materialise(context: Context, scope: StepScope): Promise<void> {
  const { strategy } = planOf(context);
  if (strategy === "adopt" || strategy === "blank") return;
  const target = targetOf(context);
  if ((await findDisk(context.db, target.id))?.state === "ready") return;
  const materialisation: Materialisation = { strategy, source: await volumeDisk(context), target };
  await recordTarget(context, materialisation);
  await context.report({ ...(await fillTarget(context, materialisation, scope)), strategy });
}

/** Bytes that were moved are hashed before the image is shown; others in the background, by the last step. */
async function hash(context: Context, scope: StepScope): Promise<void> {
  if (movesNothing(context)) return;
  await hashImageDisk(context, context.params.imageId, targetOf(context).id, scope);
}

async function publish(context: Context): Promise<void> {
  const { db, pools, clock, params } = context;
  const target = targetOf(context);
  const stored = await pools.get(target.pool).stat(target.id);
  if (!stored) throw new AppError("disk_not_found", `Disk ${target.id} of image ${params.imageId} is not in pool "${target.pool}".`);
  const facts = { size_bytes: stored.sizeBytes, virtual_size_bytes: target.virtualSizeBytes, disk_id: target.id };
  await db.transaction().execute(async (trx) => {
    if (!(await findImage(trx, params.imageId))) throw new AppError("gone", "The image was deleted while the volume was copied into it.");
    await setDiskHolder(trx, target.id, target.holder);
    await updateImage(trx, params.imageId, { ...facts, status: "active", updated_at: clock.nowMs() });
  });
}

async function restoreVolume(context: Context): Promise<void> {
  await setVolumeBack(context);
  if (movesNothing(context)) await beginHashImage(context, context.params.imageId);
}

async function setVolumeBack({ db, clock, params }: Context): Promise<void> {
  const volume = await findVolume(db, params.volumeId);
  if (volume?.status !== "uploading") return;
  await updateVolume(db, params.volumeId, { status: params.previousStatus, previous_status: null, updated_at: clock.nowMs() });
}

async function giveUp(context: Context, because: Failure): Promise<void> {
  const { db, params } = context;
  await db.transaction().execute(async (trx) => {
    await removeImage(trx, params.imageId);
    const volume = await findVolume(trx, params.volumeId);
    if (volume) await tellUser(trx, context, { kind: "volume", id: volume.id, projectId: volume.project_id }, "COPY_VOLUME_TO_IMAGE", because);
  });
  await setVolumeBack(context);
}

function movesNothing(context: Context): boolean {
  return ["adopt", "clone"].includes(planOf(context).strategy);
}

async function volumeDisk(context: Context) {
  const source = await sourceDisk(context, planOf(context));
  if (!source) throw new Error("Broken invariant: a volume's upload has a source");
  return source;
}

function targetOf(context: Context): Materialisation["target"] {
  const { imageId } = context.params;
  const { pool, format, virtualSizeBytes } = planOf(context).target;
  return { id: diskId(imageId), pool, format, virtualSizeBytes, holder: { kind: "image", id: imageId } };
}

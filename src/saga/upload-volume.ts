import type { Database } from "#/db/database.ts";
import { findDisk, getDisk, setDiskHolder } from "#/db/disks.ts";
import { dataColumns, findImage, updateImage } from "#/db/images.ts";
import type { ImageTable } from "#/db/tables.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import { NO_DATA } from "#/domain/image.ts";
import { restingStatus } from "#/saga/attached-volume.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { takeFirstThatWorks, waysOf } from "#/saga/fall-back.ts";
import { beginFlatten } from "#/saga/flatten-disk.ts";
import { forgetImage, uncountImageVolume } from "#/saga/forget-image.ts";
import { freezeDisk, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { keepSourceShallow, sourceToRead, unfreezeSource } from "#/saga/frozen-source.ts";
import { beginHashImage, hashImageDisk } from "#/saga/hash-image.ts";
import { isPublished } from "#/saga/image-content.ts";
import { discardTarget, fillTarget, type Materialisation, planOf, recordTarget, sourceDisk } from "#/saga/materialise.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { staysWithSavedMemory } from "#/saga/open-in-guest.ts";
import { tellUser } from "#/saga/tell-user.ts";

export interface UploadVolume {
  readonly volumeId: string;
  readonly imageId: string;
  /** The status that the volume had, and gets again. */
  readonly previousStatus: string;
  /** The image was there before: a failure leaves it `queued`, not deleted. */
  readonly keepsImage?: boolean;
}

type Context = SagaContext<UploadVolume>;

/**
 * Makes an image of a volume. The image is `saving` and the volume `uploading` already; at the end the image is `active`, or
 * gone, and the volume as it was. Where nothing is moved the image is usable at once, and its hash follows.
 */
export const uploadVolume: Saga<Context> = {
  name: "upload-volume",
  steps: noWayBackOnce(async ({ db, params }) => isPublished(await findImage(db, params.imageId)), [
    {
      name: "record",
      run: findOwnImage,
      undo: giveUpUpload,
    },
    {
      name: "freeze",
      run: freeze,
      undo: unfreeze,
    },
    {
      name: "materialise",
      run: materialise,
      undo: async (context) => {
        if (!isAdopted(context)) await discardTarget(context, targetOf(context));
      },
    },
    {
      name: "hash",
      run: hash,
    },
    {
      name: "publish",
      run: publish,
    },
  ]),
};

async function findOwnImage({ db, params }: Context): Promise<void> {
  if (!(await findImage(db, params.imageId))) throw new AppError("gone", "The image was deleted before the volume could be copied into it.");
}

/** An image that adopts the volume's bytes gets them frozen as its own disk; others are read of what was frozen for them, where they need that. */
async function freeze(context: Context): Promise<void> {
  if (isAdopted(context)) return adopt(context);
  await sourceToRead(context, planOf(context).strategy, await writersOf(context));
}

async function adopt(context: Context): Promise<void> {
  const source = await liveDisk(context);
  const { id, holder } = targetOf(context);
  await freezeDisk(context, source, id, holder);
  await context.report({ strategy: "adopt", bytesRead: 0, bytesWritten: 0, bytesThroughUs: 0, bytesTemporary: 0 });
}

async function unfreeze(context: Context): Promise<void> {
  if (!isAdopted(context)) return unfreezeSource(context);
  const { id } = targetOf(context);
  await unfreezeDisk(context, (await liveDisk(context).catch(() => undefined)) ?? id, id);
}

async function materialise(context: Context, scope: StepScope): Promise<void> {
  if (isAdopted(context)) return;
  const target = targetOf(context);
  if ((await findDisk(context.db, target.id))?.state === "ready") return;
  await takeFirstThatWorks(context, waysOf(planOf(context)), {
    signal: scope.signal,
    take: async ({ strategy }) => take(context, { strategy, source: await sourceToRead(context, strategy, await writersOf(context)), target }, scope),
    clear: () => discardTarget(context, target),
  });
}

/** An ordinary upload has the volume to itself. One that was forced reads what a server has, which may be started meanwhile. */
async function writersOf(context: Context): Promise<{ mayBeWritten: boolean }> {
  if (context.params.previousStatus !== "in-use") return { mayBeWritten: false };
  return { mayBeWritten: !(await staysWithSavedMemory(context, await getDisk(context.db, await liveDisk(context)))) };
}

async function take(context: Context, way: Pick<Materialisation, "strategy" | "source" | "target">, scope: StepScope): Promise<void> {
  const { clusters, stream } = planOf(context).target;
  const materialisation = { ...way, clusters, compress: stream?.compression };
  await recordTarget(context, materialisation);
  await context.report({ ...(await fillTarget(context, materialisation, scope)), strategy: way.strategy, ...(stream && { engine: stream.engine }) });
}

/** Bytes that were moved are hashed before the image is shown; others in the background, by the last step. */
async function hash(context: Context, scope: StepScope): Promise<void> {
  if (movesNothing(context)) return;
  await hashImageDisk(context, context.params.imageId, targetOf(context).id, scope);
}

async function publish(context: Context): Promise<void> {
  const { db, log, pools, params, runner } = context;
  const target = targetOf(context);
  const stored = await pools.get(target.pool).stat(target.id);
  if (!stored) throw new AppError("disk_not_found", `Disk ${target.id} of image ${params.imageId} is not in pool "${target.pool}".`);
  const facts = { size_bytes: stored.sizeBytes, virtual_size_bytes: target.virtualSizeBytes, disk_id: target.id };
  const begun = await db.transaction().execute((trx) => show({ ...context, db: trx }, facts));
  for (const operation of begun) void runner.run(operation);
  await keepSourceShallow(context).catch((err: unknown) => log.warn({ volume: params.volumeId, err }, "a disk reads through more others than its pool likes"));
}

/** And begins what was put off so that the image can be used at once: to make it independent of the volume, and to read it all. */
async function show(context: Context, facts: Partial<ImageTable>): Promise<OperationId[]> {
  const { db, clock, params } = context;
  const target = targetOf(context);
  const image = await findImage(db, params.imageId);
  if (!image) throw new AppError("gone", "The image was deleted while the volume was copied into it.");
  if (isPublished(image)) return [];
  await setDiskHolder(db, target.id, target.holder);
  await updateImage(db, params.imageId, { ...facts, status: "active", updated_at: clock.nowMs() });
  await setVolumeBack(context);
  return movesNothing(context) ? [...(await beginFlatten(context, db, target.id)), await beginHashImage(context, db, params.imageId)] : [];
}

/** The volume has the status again that it had; in the transaction `db`. */
export async function setVolumeBack({ db, clock, params }: Context): Promise<void> {
  const volume = await findVolume(db, params.volumeId);
  if (volume?.status !== "uploading") return;
  const status = await restingStatus(db, params.volumeId, params.previousStatus);
  await updateVolume(db, params.volumeId, { status, previous_status: null, updated_at: clock.nowMs() });
}

/** The image goes, or is as it was before; the volume is free again. */
export async function giveUpUpload(context: Context, because: Failure): Promise<void> {
  const { db, params } = context;
  await db.transaction().execute(async (trx) => {
    await (params.keepsImage ? emptyImage(trx, context) : forgetImage(trx, params.imageId));
    const volume = await findVolume(trx, params.volumeId);
    if (volume) await tellUser(trx, context, { kind: "volume", id: volume.id, projectId: volume.project_id }, "COPY_VOLUME_TO_IMAGE", because);
    await setVolumeBack({ ...context, db: trx });
  });
}

async function emptyImage(trx: Database, { clock, params }: Context): Promise<void> {
  await uncountImageVolume(trx, params.imageId);
  await updateImage(trx, params.imageId, { status: "queued", ...dataColumns(NO_DATA), updated_at: clock.nowMs() });
}

function movesNothing(context: Context): boolean {
  return ["adopt", "clone"].includes(planOf(context).strategy);
}

function isAdopted(context: Context): boolean {
  return planOf(context).strategy === "adopt";
}

async function liveDisk(context: Context): Promise<DiskId> {
  const source = await sourceDisk(context, planOf(context));
  if (!source) throw new Error("Broken invariant: a volume's upload has a source");
  return source;
}

function targetOf(context: Context): Materialisation["target"] {
  const { imageId } = context.params;
  const { pool, format, stream, virtualSizeBytes } = planOf(context).target;
  return { id: diskId(imageId), pool, format, packed: stream?.packed, virtualSizeBytes, holder: { kind: "image", id: imageId } };
}

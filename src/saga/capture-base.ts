import { findDevice } from "#/db/block-devices.ts";
import { captureBasesOf, findCaptureBase, removeCaptureBase, setCaptureBase } from "#/db/capture-bases.ts";
import type { Database } from "#/db/database.ts";
import { findDisk, getDisk } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import type { CaptureBaseTable } from "#/db/server-tables.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Materialisation, NewDiskRecord } from "#/saga/materialise.ts";
import type { CapturedDisk, CaptureParams } from "#/saga/server-views.ts";
import type { ByteRange } from "#/storage/driver.ts";
import type { Source } from "#/transfer/source.ts";
import type { BackupView } from "#/vm/backup.ts";
import { captureFolder } from "#/vm/capture-folder.ts";

/**
 * What changed on a server's disk since an image of it: the *base* says which image holds what the disk held at which checkpoint of its guest. It is recorded when the image is published, and dropped at the
 * first doubt: the next image is then made of all of the disk.
 */

type Context = SagaContext<CaptureParams>;

/** Mica's own, of all checkpoints that a guest may have; one for each capture. */
const PREFIX = "mica-";
const checkpointOf = ({ operationId }: Context): string => `${PREFIX}${operationId}`;

/** Opens the views of the disks, from now on remembering what changes where that is wanted. Those that have lost what changed since their base lose the base. */
export async function openBackup(context: Context, disks: readonly CapturedDisk[], signal: AbortSignal): Promise<void> {
  const { db, hypervisor, params } = context;
  try {
    await hypervisor.beginBackup(params.serverId, await backupOf(context, disks), { signal });
  } catch (error) {
    if (asAppError(error)?.code !== "checkpoint_lost") throw error;
    context.log.warn({ server: params.serverId, err: error }, "what changed since the last image is lost: all is read");
    for (const { deviceId } of disks) await removeCaptureBase(db, deviceId);
    await hypervisor.beginBackup(params.serverId, await backupOf(context, disks), { signal });
  }
}

/** The disk's image as a clone of its base, and what is written into it of the view that is open. `checkpoint_lost` where the base, or what changed, is not known any more. */
export async function onBase(context: Context, disk: CapturedDisk, { view, target }: { view: Source | undefined; target: NewDiskRecord }): Promise<Materialisation> {
  const base = await baseDisk(context, disk, target);
  const changes = view && (await changesOf(context, disk));
  if (!base || !changes) throw new AppError("checkpoint_lost", `What changed on disk ${disk.target} since the image before is not known any more.`);
  return { strategy: "copy_changes", source: base, view, target, changes };
}

/** The checkpoint of the very instant that the disks were read of, where the guest has it. */
export async function standingCheckpoint(context: Context): Promise<string | undefined> {
  const { hypervisor, params, actual } = context;
  if (!params.disks.some(({ isRemembered, target }) => isRemembered && actual.capture?.methods[target] === "backup_job")) return undefined;
  const names = await hypervisor.listCheckpoints(params.serverId).catch(unlessKnown);
  return names?.find((name) => name === checkpointOf(context));
}

/** The image is what the next one can be made of. One that its operator does not want remembered ends what there was. */
export async function recordBase(trx: Database, context: Context, checkpoint: string | undefined): Promise<void> {
  for (const disk of context.params.disks.filter(({ becomes, volumeId }) => becomes.kind === "image" && volumeId === null)) {
    if (!disk.isRemembered) await removeCaptureBase(trx, disk.deviceId);
    else if (checkpoint !== undefined) await setCaptureBase(trx, await baseOf(trx, disk, checkpoint));
  }
}

async function baseOf(trx: Database, disk: CapturedDisk, checkpoint: string): Promise<CaptureBaseTable> {
  const live = (await findDevice(trx, disk.deviceId))?.disk_id;
  if (!live) throw new AppError("gone", "The disk was deleted while it was captured.");
  const { id, parent } = await getDisk(trx, diskId(live));
  return { device_id: disk.deviceId, live_disk_id: id, live_parent_id: parent ?? null, image_id: disk.becomes.id, checkpoint };
}

/** Has the guest forget what no base names: remembering costs it memory, and writes. What cannot be forgotten now is so after the next capture. */
export async function forgetCheckpoints({ db, hypervisor, params, log }: Context): Promise<void> {
  const bases = await captureBasesOf(db, params.serverId);
  const used = new Set(bases.map(({ checkpoint }) => checkpoint));
  try {
    const names = await hypervisor.listCheckpoints(params.serverId);
    for (const name of names) if (name.startsWith(PREFIX) && !used.has(name)) await hypervisor.deleteCheckpoint(params.serverId, name);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    log.debug({ server: params.serverId, err: error }, "a checkpoint is kept for now");
  }
}

async function backupOf(context: Context, disks: readonly CapturedDisk[]) {
  const { operationId, params, limits, db } = context;
  const shown = disks.map(async ({ target, deviceId, isRemembered }) => {
    const base = isRemembered ? await findCaptureBase(db, deviceId) : undefined;
    return { target, ...(base && { since: base.checkpoint }) };
  });
  // A checkpoint is of all disks of the call, and a volume may be detached with its part of it: then nobody could have the guest forget the rest.
  const checkpoint = disks.every(({ isRemembered }) => isRemembered) ? checkpointOf(context) : undefined;
  return { name: operationId, folder: captureFolder(limits.servers.dir, params.serverId), disks: await Promise.all(shown), checkpoint };
}

/** Asked again of what is open, as it was asked for. */
async function changesOf(context: Context, disk: CapturedDisk): Promise<readonly ByteRange[] | undefined> {
  const { hypervisor, params } = context;
  if (!(await hypervisor.findBackup(params.serverId))) return undefined;
  const views: BackupView[] = await hypervisor.beginBackup(params.serverId, await backupOf(context, [disk]));
  return views.find(({ target }) => target === disk.target)?.changed;
}

/** What the plan was made for may be gone, or another, by now. */
async function baseDisk({ db }: Context, disk: CapturedDisk, target: NewDiskRecord) {
  const base = await findCaptureBase(db, disk.deviceId);
  const image = base && (await findImage(db, base.image_id));
  const found = image?.status === "active" && image.disk_id !== null ? await findDisk(db, diskId(image.disk_id)) : undefined;
  const isUsable = found?.state === "ready" && found.format === "raw" && found.pool === target.pool && found.virtualSizeBytes === target.virtualSizeBytes;
  return isUsable ? found.id : undefined;
}

function unlessKnown(error: unknown): undefined {
  if (!(error instanceof AppError)) throw error;
}

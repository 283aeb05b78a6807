import { findDevice } from "#/db/block-devices.ts";
import { captureBasesOf, findCaptureBase, insertCaptureBase, removeCaptureBase } from "#/db/capture-bases.ts";
import type { Database } from "#/db/database.ts";
import { findDisk, getDisk } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { type DiskId, diskId, type OperationId } from "#/domain/ids.ts";
import { LISTED_RANGES_MAX, listedUpTo } from "#/lib/ranges.ts";
import type { CaptureBaseTable } from "#/db/server-tables.ts";
import type { SagaContext } from "#/saga/context.ts";
import { forgetBase } from "#/saga/kept-instant.ts";
import { type Materialisation, type NewDiskRecord, sourceOf } from "#/saga/materialise.ts";
import type { CapturedDisk, CaptureParams } from "#/saga/captured-disk.ts";
import type { ByteRange } from "#/storage/driver.ts";
import type { Source } from "#/transfer/source.ts";
import type { BackupView } from "#/vm/backup.ts";
import { captureFolder } from "#/vm/capture-folder.ts";

/**
 * What changed on a server's disk since an image of it: the *base* says which image holds what the disk held at which checkpoint of its guest, or when its pool froze which disk of it. It is recorded when
 * the image is published, and dropped at the first doubt: the next image is then made of all of the disk.
 */

type Context = SagaContext<CaptureParams>;

/** Mica's own, of all checkpoints that a guest may have; one for each capture. */
const PREFIX = "mica-";
const checkpointOf = ({ operationId }: Context): string => `${PREFIX}${operationId}`;

/**
 * Prepares views of the disks, and from then on to remember what changes where that is wanted. The answer opens them, at the instant. Disks that have lost what changed since their
 * base lose the base.
 */
export async function prepareBackup(context: Context, disks: readonly CapturedDisk[], signal: AbortSignal): Promise<(signal: AbortSignal) => Promise<void>> {
  const { hypervisor, params } = context;
  const open = await hypervisor.prepareBackup(params.serverId, await backupOf(context, disks), { signal });
  return (signal) => open({ signal }).catch((error: unknown) => openWithoutBase(context, disks, error, signal));
}

async function openWithoutBase(context: Context, disks: readonly CapturedDisk[], error: unknown, signal: AbortSignal): Promise<void> {
  const { db, hypervisor, params } = context;
  if (asAppError(error)?.code !== "checkpoint_lost") throw error;
  context.log.warn({ server: params.serverId, err: error }, "what changed since the last image is lost: all is read");
  for (const { deviceId } of disks) await removeCaptureBase(db, deviceId); // They have checkpoints, and no disks in pools.
  await hypervisor.beginBackup(params.serverId, await backupOf(context, disks), { signal });
}

interface Seen {
  /** What is read: of a pool, the disk that it has frozen; of a guest, the live disk in whose place there is a view. */
  readonly source: DiskId;
  readonly view?: Source | undefined;
}

/** What has changed since a base, and where it is read. */
type Told = Pick<Materialisation, "view" | "changes">;

/** The disk's image as a clone of its base, and what is written into it of what is seen. `checkpoint_lost` where the base, or what changed, is not known any more. */
export async function onBase(context: Context, disk: CapturedDisk, { target, ...seen }: Seen & { readonly target: NewDiskRecord }, signal: AbortSignal): Promise<Materialisation> {
  const source = await baseDisk(context, disk, target);
  const told = seen.view ? await toldByGuest(context, disk, seen.view) : await toldByPool(context, disk, seen.source, signal);
  if (!source || !told) throw new AppError("checkpoint_lost", `What changed on disk ${disk.target} since the image before is not known any more.`);
  return { strategy: "copy_changes", source, target, ...told };
}

/** Between the instant that the pool has kept and the one that it has frozen now. */
async function toldByPool({ db, pools }: Context, disk: CapturedDisk, frozen: DiskId, signal: AbortSignal): Promise<Told | undefined> {
  const kept = (await findCaptureBase(db, disk.deviceId))?.frozen_disk_id;
  const [before, now] = [kept ? await findDisk(db, diskId(kept)) : undefined, await getDisk(db, frozen)];
  if (before?.state !== "ready" || before.pool !== now.pool) return undefined;
  const changes = await listedUpTo(LISTED_RANGES_MAX, pools.get(now.pool).changes(before, now, { start: 0, end: now.virtualSizeBytes }, { signal }));
  if (!changes) throw tooScattered(disk);
  return { view: await sourceOf({ db, pools }, now), changes };
}

function tooScattered({ target }: CapturedDisk): AppError {
  return new AppError("checkpoint_lost", `Disk ${target} has changed in more than ${LISTED_RANGES_MAX} places since the image before: all of it is read faster.`);
}

async function toldByGuest(context: Context, disk: CapturedDisk, view: Source): Promise<Told | undefined> {
  const changes = await changesOf(context, disk);
  return changes && { view, changes };
}

/** The checkpoint of the very instant that the disks were read of, where the guest has it. */
export async function standingCheckpoint(context: Context): Promise<string | undefined> {
  const { hypervisor, params, actual } = context;
  if (!params.disks.some(({ target }) => actual.capture?.methods[target] === "backup_job")) return undefined;
  const names = await hypervisor.listCheckpoints(params.serverId).catch(unlessKnown);
  return names?.find((name) => name === checkpointOf(context));
}

/** The image is what the next one can be made of; where nobody is to know what changes from now on, what there was ends. Run the answer once that is committed. */
export async function recordBase(trx: Database, context: Context, checkpoint: string | undefined): Promise<OperationId[]> {
  const drops: OperationId[] = [];
  for (const disk of context.params.disks.filter(({ becomes, volumeId }) => becomes.kind === "image" && volumeId === null)) {
    const told = toldFrom(context, disk, checkpoint);
    if (!told) continue;
    drops.push(...(await forgetBase(context, trx, disk.deviceId, told.frozen)));
    if (told.frozen ?? told.checkpoint) await insertCaptureBase(trx, await baseOf(trx, disk, told));
  }
  return drops;
}

interface Instant {
  readonly checkpoint?: string | undefined;
  readonly frozen?: DiskId | undefined;
}

/** How the instant that the disk was read of is known from now on; undefined where what was known stays as true as it is. */
function toldFrom({ actual }: Context, { target, ways, viewId }: CapturedDisk, checkpoint: string | undefined): Instant | undefined {
  const method = actual.capture?.methods[target];
  const remembers = ways.find(({ capture }) => capture?.method === method)?.capture?.remembers;
  if (remembers === "pool") return { frozen: diskId(viewId) };
  if (remembers === "guest") return checkpoint === undefined ? undefined : { checkpoint };
  return remembers === "nobody" ? {} : undefined;
}

async function baseOf(trx: Database, disk: CapturedDisk, { checkpoint = null, frozen = null }: { checkpoint?: string | null | undefined; frozen?: DiskId | null | undefined }): Promise<CaptureBaseTable> {
  const live = (await findDevice(trx, disk.deviceId))?.disk_id;
  if (!live) throw new AppError("gone", "The disk was deleted while it was captured.");
  const { id, parent } = await getDisk(trx, diskId(live));
  return { device_id: disk.deviceId, live_disk_id: id, live_parent_id: parent ?? null, image_id: disk.becomes.id, checkpoint, frozen_disk_id: frozen };
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
  const shown = disks.map(async (disk) => {
    const since = isRemembered(disk) ? (await findCaptureBase(db, disk.deviceId))?.checkpoint : undefined;
    return { target: disk.target, ...(since && { since }) };
  });
  // A checkpoint is of all disks of the call, and a volume may be detached with its part of it: then nobody could have the guest forget the rest.
  const checkpoint = disks.every(isRemembered) ? checkpointOf(context) : undefined;
  return { name: operationId, folder: captureFolder(limits.servers.dir, params.serverId), disks: await Promise.all(shown), checkpoint };
}

/** Whether its guest is to remember what changes from now on. */
function isRemembered({ ways }: CapturedDisk): boolean {
  return ways.some(({ capture }) => capture?.method === "backup_job" && capture.remembers === "guest");
}

/** Asked again of what is open, as it was asked for. */
async function changesOf(context: Context, disk: CapturedDisk): Promise<readonly ByteRange[] | undefined> {
  const { hypervisor, params } = context;
  if (!(await hypervisor.findBackup(params.serverId))) return undefined;
  const request = await backupOf(context, [disk]);
  const views: BackupView[] = await hypervisor.beginBackup(params.serverId, request);
  const changed = views.find(({ target }) => target === disk.target)?.changed;
  if (!changed && request.disks.some(({ since }) => since !== undefined)) throw tooScattered(disk);
  return changed;
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

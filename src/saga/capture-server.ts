import { removeCaptureBasesOf } from "#/db/capture-bases.ts";
import { findDisk, setDiskHolder } from "#/db/disks.ts";
import { backupsOf, findImage, setImageProperties, updateImage } from "#/db/images.ts";
import { findOperation } from "#/db/operations.ts";
import { findServer } from "#/db/servers.ts";
import { findSnapshot, updateSnapshot } from "#/db/snapshots.ts";
import { CAPTURE_PROPERTIES, type ConsistencyLevel } from "#/domain/capture.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { diskId, type OperationId } from "#/domain/ids.ts";
import type { TaskState } from "#/domain/server.ts";
import type { CaptureMethod } from "#/planner/plan.ts";
import { awaitOperation } from "#/saga/await-operation.ts";
import { forgetCheckpoints, onBase, recordBase, standingCheckpoint } from "#/saga/capture-base.ts";
import type { Captured, SagaContext } from "#/saga/context.ts";
import { markSnapshotFailed } from "#/saga/create-snapshot.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { dropSnapshot } from "#/saga/delete-snapshot.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { takeFirstThatWorks, waysOf } from "#/saga/fall-back.ts";
import { beginFlatten, flattenBeyondLimit } from "#/saga/flatten-disk.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { beginHashImage } from "#/saga/hash-image.ts";
import { isPublished } from "#/saga/image-content.ts";
import { atOneInstant, type InstantWish, letGo } from "#/saga/instant.ts";
import { discardTarget, fillTarget, type NewDiskRecord, recordTarget } from "#/saga/materialise.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { standingOf } from "#/saga/power-state.ts";
import { settleFailed, settleServer, showTask } from "#/saga/server-record.ts";
import type { CapturedDisk, CaptureParams } from "#/saga/captured-disk.ts";
import { closeViews, has, liveDisk, type Methods, type OpenViews, openView, prepareViews, refuseOtherDisks, wayOf } from "#/saga/server-views.ts";
import { giveUpUpload, setVolumeBack, type UploadVolume } from "#/saga/upload-volume.ts";
import { bytesKeptAside, captureFolder } from "#/vm/capture-folder.ts";

export interface CaptureServer extends CaptureParams {
  /** Recorded already, `saving`. One that stands for volumes has no bytes of its own. Null where only a snapshot of a volume was asked for. */
  readonly imageId: string | null;
  /** Where an image of one of its volumes was asked for: how that upload began. */
  readonly upload?: UploadVolume | undefined;
  /** What is to be frozen, and what may be done without. */
  readonly hasAgent: boolean;
  readonly requiresQuiesce: boolean;
  /** Whether the guest was to run, so that it goes on where it is stopped for this. */
  readonly runs: boolean;
  /** One of the backups of that type, of which so many are kept. */
  readonly backup?: { readonly type: string; readonly rotation: number } | undefined;
  /** It is a part of shelving the server, which is not finished with the image. */
  readonly shelves?: boolean | undefined;
}

type Context = SagaContext<CaptureServer>;

/**
 * Captures disks of a server at one instant. Makes an image of a server: of its own disk, and snapshots of its volumes, all of one instant. The image is `saving` and the snapshots `creating` already; in the end they are there, or
 * gone, and the server is as it was. nova/compute/manager.py `snapshot_instance`. So too an image, or a snapshot, of a volume that a guest has open.
 */
export const captureServer: Saga<Context> = {
  name: "capture-server",
  steps: noWayBackOnce(isShown, [
    {
      name: "record",
      run: begin,
      undo: giveUp,
    },
    {
      name: "views",
      run: takeViews,
      undo: dropViews,
    },
    {
      name: "materialise",
      run: materialise,
      undo: discardTargets,
    },
    {
      name: "close",
      run: close,
    },
    {
      name: "publish",
      run: publish,
      undo: takeBack,
    },
  ]),
};

async function begin(context: Context, scope: StepScope): Promise<void> {
  const { db, params } = context;
  await takeTurn(context, scope);
  await showTaskOf(context, params.backup ? "image_backup" : "image_snapshot");
  if (params.imageId !== null && !(await findImage(db, params.imageId))) throw new AppError("gone", "The image was deleted before the server could be copied into it.");
}

/** By the best methods that work: where one breaks, the next is as good an answer. What was opened before, by a process that ended, is of another instant, and closed. */
async function takeViews(context: Context, scope: StepScope): Promise<void> {
  await takeTurn(context, scope);
  const fellBack: { strategy: string; because: string }[] = [];
  for (let methods = context.actual.capture?.methods ?? bestOf(context); ; ) {
    await dropViews(context);
    try {
      return await takeBy(context, methods, scope);
    } catch (error) {
      const next = scope.signal.aborted ? undefined : gentlestLeft(context, methods, asAppError(error));
      if (!next) throw error;
      context.log.warn({ server: context.params.serverId, methods, err: error }, "a way to capture the disks broke: the next one is taken");
      fellBack.push({ strategy: [...new Set(Object.values(methods))].join(", "), because: (error as Error).message });
      await dropViews(context);
      await context.report({ fellBack });
      methods = next;
    }
  }
}

/** After a crash those that waited may come first: one whose views are open still goes before them. */
async function takeTurn(context: Context, scope: StepScope): Promise<void> {
  const { db, hypervisor, captureSlots, params, operationId } = context;
  await captureSlots.take(params.serverId, operationId, scope.signal);
  const name = (await hypervisor.stat(params.serverId))?.backup?.name;
  const other = name && name !== operationId ? await findOperation(db, name) : undefined;
  if (!other || other.ended_at !== null) return;
  await captureSlots.giveBack(params.serverId, operationId);
  await awaitOperation(context, other.id, scope).catch(() => scope.signal.throwIfAborted()); // However it ends.
  await captureSlots.take(params.serverId, operationId, scope.signal);
}

async function takeBy(context: Context, methods: Methods, { signal, progress }: StepScope): Promise<void> {
  await context.report({ capture: { methods } });
  const atMs = context.clock.nowMs();
  const open = await prepareViews(context, methods, signal, progress);
  const facts = has(methods, "pool_snapshot", "backup_job", "live_mirror") ? await instant(context, methods, open) : { atMs, ...(await whileStill(context, open)) };
  await refuseOtherDisks(context, methods);
  await context.report({ capture: { methods, ...facts } });
  await showTaskOf(context, "image_pending_upload");
}

async function instant(context: Context, methods: Methods, open: OpenViews): Promise<Omit<Captured, "methods">> {
  let opening: Promise<void> | undefined;
  try {
    return await atOneInstant(context, wishOf(context, methods), (signal) => (opening = open(signal)));
  } finally {
    await Promise.allSettled([opening]); // The guest went on; what was begun for it ends before it is closed.
  }
}

/** Nobody writes to the disks: there is time. */
async function whileStill(context: Context, open: OpenViews): Promise<{ level: ConsistencyLevel; because?: string }> {
  await open(new AbortController().signal);
  const guest = await context.hypervisor.stat(context.params.serverId);
  if (guest?.state === "shutoff" && guest.reason === "shutdown") return { level: "application" };
  return { level: "crash", because: guest?.state === "suspended" ? "the guest's memory is not in the image" : "the guest had not shut down by itself" };
}

function wishOf({ params }: Context, methods: Methods): InstantWish {
  const calls = Object.values(methods).filter((method) => method !== "backup_job").length + (has(methods, "backup_job") ? 1 : 0);
  return { serverId: params.serverId, hasAgent: params.hasAgent, requiresQuiesce: params.requiresQuiesce, pauses: calls > 1 || has(methods, "live_mirror") };
}

async function dropViews(context: Context): Promise<void> {
  const { capture } = context.actual;
  if (!capture) return;
  await letGo(context, context.params.serverId);
  await closeViews(context, capture.methods, { all: true, restarts: context.params.runs });
  await forgetCheckpoints(context);
}

function bestOf({ params }: Context): Methods {
  return Object.fromEntries(params.disks.map(({ target, ways }) => [target, ways[0]?.capture?.method ?? "cold"]));
}

/** The next method of each disk that has one. Undefined where none is left, or no other would do better. */
function gentlestLeft({ params }: Context, methods: Methods, error: AppError | undefined): Methods | undefined {
  if (!error || ["cancelled", "gone", "agent_unavailable", "hypervisor_unavailable"].includes(error.code)) return undefined;
  const next = params.disks.map((disk): [string, CaptureMethod | undefined] => [disk.target, disk.ways[disk.ways.indexOf(wayOf(disk, methods)) + 1]?.capture?.method]);
  if (next.every(([, method]) => method !== undefined && method !== "cold")) return Object.fromEntries(next) as Methods;
  // A guest that is stopped is stopped for all of its disks.
  const canAllBeCold = !has(methods, "cold") && params.disks.every(({ ways }) => ways.some(({ capture }) => capture?.method === "cold"));
  return canAllBeCold ? Object.fromEntries(next.map(([target]) => [target, "cold" as const])) : undefined;
}

async function materialise(context: Context, scope: StepScope): Promise<void> {
  const { params, limits, captureSlots, operationId } = context;
  const { disks } = params;
  await captureSlots.take(params.serverId, operationId, scope.signal); // After a crash too: the next capture would find these views open, and fail.
  await showTaskOf(context, "image_uploading");
  const sums = { bytesRead: 0, bytesWritten: 0, bytesThroughUs: 0, bytesTemporary: 0 };
  for (const [index, disk] of disks.entries()) {
    const progress = (fraction: number) => scope.progress((index + fraction) / disks.length);
    const moved = await makeResult(context, disk, { ...scope, progress });
    for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += moved[name] ?? 0;
  }
  sums.bytesTemporary += await bytesKeptAside(captureFolder(limits.servers.dir, params.serverId));
  await context.report(sums);
}

async function makeResult(context: Context, disk: CapturedDisk, scope: StepScope) {
  const methods = methodsOf(context);
  const plan = wayOf(disk, methods);
  const target = targetOf(context, disk);
  await context.report({ strategy: plan.strategy });
  if (plan.strategy === "adopt" || (await findDisk(context.db, target.id))?.state === "ready") return {};
  const { source, view } = await openView(context, disk, methods);
  const { clusters, stream } = plan.target;
  return takeFirstThatWorks(context, waysOf(plan), {
    signal: scope.signal,
    take: async ({ strategy }) => {
      const materialisation = strategy === "copy_changes" ? await onBase(context, disk, { source, view, target }, scope.signal) : { strategy, source, view, target, clusters, compress: stream?.compression };
      await recordTarget(context, materialisation);
      const moved = await fillTarget(context, materialisation, scope);
      await context.report({ strategy });
      return moved;
    },
    clear: () => discardTarget(context, target, { keeps: source }),
  });
}

async function discardTargets(context: Context): Promise<void> {
  for (const disk of context.params.disks) {
    if (wayOf(disk, methodsOf(context)).strategy !== "adopt") await discardTarget(context, targetOf(context, disk));
  }
}

/** The guest is let go before the rest, which it need not wait for. */
async function close(context: Context): Promise<void> {
  const { clock, params, captureSlots, operationId } = context;
  const capture = context.actual.capture;
  if (!capture) return;
  await closeViews(context, capture.methods, { all: false, restarts: params.runs });
  if (has(capture.methods, "cold")) await context.report({ capture: { ...capture, downtimeMs: clock.nowMs() - (capture.atMs ?? 0) } });
  await captureSlots.giveBack(params.serverId, operationId);
}

/** All that its users see changes in one transaction, which also begins what follows. The rest is made up for by the next capture, where it fails. */
async function publish(context: Context): Promise<void> {
  const { log, params, runner } = context;
  if (!(await isShown(context))) for (const begun of await show(context)) void runner.run(begun);
  try {
    await forgetCheckpoints(context);
    for (const disk of params.shelves ? [] : params.disks) await flattenBeyondLimit(context, await liveDisk(context, disk));
  } catch (err) {
    log.warn({ server: params.serverId, err }, "what a capture leaves is not tidied up yet");
  }
}

async function show(context: Context): Promise<OperationId[]> {
  const { db, hypervisor, params } = context;
  const bytes = await bytesOfImage(context);
  const checkpoint = await standingCheckpoint(context);
  const standing = await standingOf(hypervisor, params.serverId); // Whoever follows guests left this one alone meanwhile.
  return db.transaction().execute(async (trx) => {
    const within = { ...context, db: trx };
    for (const disk of params.disks) await showResult(within, disk);
    if (params.imageId === null) return [];
    await showImage(within, params.imageId, bytes);
    if (isOfServer(params) && !params.shelves) await settleServer(within, standing);
    if (params.upload) await setVolumeBack({ ...within, params: params.upload });
    return [...(await recordBase(trx, context, checkpoint)), ...(await beginLater(within)), ...(await rotate(within))];
  });
}

async function showImage({ actual, clock, db }: Context, imageId: string, bytes: Awaited<ReturnType<typeof bytesOfImage>>): Promise<void> {
  if (!(await findImage(db, imageId))) throw new AppError("gone", "The image was deleted while the server was copied into it.");
  await setImageProperties(db, imageId, factsOf(actual.capture));
  await updateImage(db, imageId, { ...bytes, status: "active", updated_at: clock.nowMs() });
}

/** Somebody may be using the image, or the snapshot: nothing is taken back any more. One that a server is being shelved into is nobody else's before that is done. */
async function isShown({ db, params }: Context): Promise<boolean> {
  if (params.shelves) return false;
  if (params.imageId !== null) return isPublished(await findImage(db, params.imageId));
  const snapshots = await Promise.all(params.disks.map(({ becomes }) => findSnapshot(db, becomes.id)));
  return snapshots.every((snapshot) => typeof snapshot?.disk_id === "string");
}

async function showResult(context: Context, disk: CapturedDisk): Promise<void> {
  const { clock, db } = context;
  const { id, holder } = targetOf(context, disk);
  await setDiskHolder(db, id, holder);
  if (holder.kind !== "snapshot") return;
  if (!(await findSnapshot(db, holder.id))) throw new AppError("gone", "A snapshot was deleted while it was taken.");
  await updateSnapshot(db, holder.id, { status: "available", disk_id: id, updated_at: clock.nowMs() });
}

async function bytesOfImage(context: Context) {
  const disk = imageDisk(context);
  if (!disk) return { size_bytes: 0, virtual_size_bytes: null, disk_id: null }; // It stands for volumes.
  const { id, pool, virtualSizeBytes } = targetOf(context, disk);
  const stored = await context.pools.get(pool).stat(id);
  if (!stored) throw new AppError("disk_not_found", `Disk ${id} of image ${disk.becomes.id} is not in pool "${pool}".`);
  return { size_bytes: stored.sizeBytes, virtual_size_bytes: virtualSizeBytes, disk_id: id };
}

async function takeBack({ db, params }: Context): Promise<void> {
  if (params.imageId !== null) await removeCaptureBasesOf(db, params.imageId);
  if (params.imageId !== null) await updateImage(db, params.imageId, { disk_id: null });
  for (const { becomes } of params.disks) if (becomes.kind === "snapshot") await updateSnapshot(db, becomes.id, { disk_id: null });
}

/** Backups of the type beyond those that are kept go, the oldest first; nova/compute/manager.py `_rotate_backups`. Those that are protected stay. */
async function rotate({ db, runner, params, requestId }: Context): Promise<OperationId[]> {
  const image = params.backup && params.imageId !== null ? await findImage(db, params.imageId) : undefined;
  if (!params.backup || !image) return [];
  const backups = await backupsOf(db, { serverId: params.serverId, type: params.backup.type, owner: image.owner });
  const begun: OperationId[] = [];
  for (const { id, owner, disk_id } of backups.slice(params.backup.rotation).filter((image) => image.protected === 0)) {
    const keptDiskId = await forgetImage(db, id);
    begun.push(await runner.begin(db, deleteImage, { imageId: id, diskId: disk_id, keptDiskId }, { projectId: owner, userId: null, requestId, subject: { kind: "image", id } }));
  }
  return begun;
}

/** What was put off so that the image can be used at once: to make it independent of the server, and to read it all. */
async function beginLater(context: Context): Promise<OperationId[]> {
  const disk = imageDisk(context);
  if (!disk) return [];
  const sharesBytes = movesNothing(context, disk) && wayOf(disk, methodsOf(context)).flattenAfter;
  const flatten = sharesBytes ? await beginFlatten(context, context.db, targetOf(context, disk).id) : [];
  return context.params.shelves ? flatten : [...flatten, await beginHashImage(context, context.db, disk.becomes.id)]; // That one is for its server alone.
}

async function giveUp(context: Context, because: Failure): Promise<void> {
  const { db, params, captureSlots, operationId } = context;
  await captureSlots.giveBack(params.serverId, operationId);
  if (params.upload) return giveUpUpload({ ...context, params: params.upload }, because);
  for (const { becomes } of params.disks) if (becomes.kind === "snapshot") await giveUpSnapshot(context, becomes.id, because);
  if (params.imageId === null) return;
  const { imageId } = params;
  await db.transaction().execute((trx) => forgetImage(trx, imageId));
  if (!params.shelves && (await findServer(db, params.serverId))) await settleFailed(context, because, await standingOf(context.hypervisor, params.serverId));
}

/** One that its user asked for stays, to say why it failed. */
async function giveUpSnapshot(context: Context, snapshotId: string, because: Failure): Promise<void> {
  if (context.params.imageId !== null) return dropSnapshot(context, snapshotId);
  return markSnapshotFailed({ ...context, params: { snapshotId } }, because);
}

/** Only what was asked for of the server itself is its task. */
async function showTaskOf(context: Context, task: TaskState): Promise<void> {
  if (isOfServer(context.params)) await showTask(context, (context.params.shelves && WHILE_SHELVING[task]) || task);
}

/** What the task is called where the server is being shelved. */
const WHILE_SHELVING: Readonly<Partial<Record<TaskState, TaskState>>> = { image_snapshot: "shelving", image_pending_upload: "shelving_image_pending_upload", image_uploading: "shelving_image_uploading" };

function isOfServer({ imageId, upload }: CaptureServer): boolean {
  return imageId !== null && upload === undefined;
}

/** What the image says of how it came about. */
function factsOf(captured: Captured | undefined): Record<string, string> {
  const { method, level, freezeMs, downtimeMs, atMs } = CAPTURE_PROPERTIES;
  const methods = [...new Set(Object.values(captured?.methods ?? {}))].join(", ");
  return {
    [method]: methods,
    [level]: captured?.level ?? "crash",
    [freezeMs]: String(captured?.freezeMs ?? 0),
    [downtimeMs]: String(captured?.downtimeMs ?? 0),
    ...(captured?.atMs !== undefined && { [atMs]: new Date(captured.atMs).toISOString() }),
  };
}

function imageDisk({ params }: Context): CapturedDisk | undefined {
  return params.disks.find(({ becomes }) => becomes.kind === "image");
}

function movesNothing(context: Context, disk: CapturedDisk): boolean {
  return ["adopt", "clone", "copy_changes"].includes(wayOf(disk, methodsOf(context)).strategy);
}

function methodsOf(context: Context): Methods {
  return context.actual.capture?.methods ?? bestOf(context);
}

function targetOf(context: Context, disk: CapturedDisk): NewDiskRecord {
  const { pool, format, stream, virtualSizeBytes } = wayOf(disk, methodsOf(context)).target;
  return { id: diskId(disk.becomes.id), pool, format, packed: stream?.packed, virtualSizeBytes, holder: disk.becomes };
}

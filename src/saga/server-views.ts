import { rm } from "node:fs/promises";
import { findDevice } from "#/db/block-devices.ts";
import { findDisk, getDisk } from "#/db/disks.ts";
import { findVolume } from "#/db/volumes.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import type { Holder } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { CaptureMethod, Plan } from "#/planner/plan.ts";
import { prepareBackup } from "#/saga/capture-base.ts";
import type { CapturedDisk, CaptureParams } from "#/saga/captured-disk.ts";
import type { SagaContext } from "#/saga/context.ts";
import { freezeDisk, prepareFreeze, unfreezeDisk } from "#/saga/freeze-disk.ts";
import { viewOf } from "#/transfer/guest-view.ts";
import type { Source } from "#/transfer/source.ts";
import { captureFolder, makeCaptureFolder, makeMirror, mirrorNode } from "#/vm/capture-folder.ts";

type Context = SagaContext<CaptureParams>;

/** What is left to do at the instant: has each disk's content stay readable, by its method. Short: the guest is held meanwhile. */
export type OpenViews = (signal: AbortSignal) => Promise<void>;

/** What comes before the instant, and may take long: the mirrors of disks catch up, or the guest's memory is saved; files are made. */
export async function prepareViews(context: Context, methods: Methods, signal: AbortSignal, progress?: (fraction: number) => void): Promise<OpenViews> {
  const { hypervisor, params, limits } = context;
  const folder = captureFolder(limits.servers.dir, params.serverId);
  if (has(methods, "backup_job", "live_mirror")) await makeCaptureFolder(folder);
  for (const disk of by(params, methods, "live_mirror")) {
    const { live, virtualSizeBytes, bytesPerSecondMax } = await liveNode(context, disk);
    await makeMirror(folder, disk.target, { live, virtualSizeBytes });
    const { node, shallow } = mirrorNode(folder, disk.target, live);
    const { mirrorStallMsMax: stallMsMax } = limits.servers;
    await hypervisor.mirrorDisk(params.serverId, disk.target, node, { shallow, signal, onProgress: progress, bytesPerSecondMax, stallMsMax });
  }
  if (has(methods, "cold")) await stop(context, signal);
  const shown = by(params, methods, "backup_job");
  const openBackup = shown.length > 0 ? await prepareBackup(context, shown, signal) : undefined;
  await freezeAll(context, methods, prepareFreeze);
  return (signal) => openViews(context, methods, { openBackup, signal });
}

/** With its memory saved. One that has ended by itself, while the capture waited for its turn, stands still already. */
async function stop({ hypervisor, params }: Context, signal: AbortSignal): Promise<void> {
  const state = (await hypervisor.stat(params.serverId))?.state;
  if (state !== "shutoff" && state !== "crashed") await hypervisor.save(params.serverId, { signal });
}

async function openViews(context: Context, methods: Methods, { openBackup, signal }: { openBackup: OpenViews | undefined; signal: AbortSignal }): Promise<void> {
  const { hypervisor, params } = context;
  for (const disk of by(params, methods, "live_mirror")) await hypervisor.endMirror(params.serverId, disk.target, { signal });
  await openBackup?.(signal);
  await freezeAll(context, methods, freezeDisk);
}

/** A guest knows its disks by names that another disk may have by now: while the capture waited for its turn, a volume was detached or swapped. Disks stay while there are views of them. */
export async function refuseOtherDisks({ db, params }: Context, methods: Methods): Promise<void> {
  for (const { deviceId, target, volumeId } of [...by(params, methods, "backup_job"), ...by(params, methods, "live_mirror")]) {
    const device = await findDevice(db, deviceId);
    if (device?.volume_id !== volumeId || device.target !== target) throw new AppError("gone", `Disk ${target} was taken away from server ${params.serverId} before it could be captured.`);
  }
}

async function freezeAll(context: Context, methods: Methods, freeze: typeof freezeDisk | typeof prepareFreeze): Promise<void> {
  for (const disk of context.params.disks) {
    const frozen = frozenAs(context, disk, methods);
    if (frozen) await freeze(context, await liveDisk(context, disk), frozen.id, frozen.holder);
  }
}

/** What a disk is read from: the disk to name as the source, and what is read in its place. */
export async function openView(context: Context, disk: CapturedDisk, methods: Methods): Promise<{ readonly source: DiskId; readonly view?: Source }> {
  const live = await liveDisk(context, disk);
  const frozen = frozenAs(context, disk, methods);
  if (frozen) return { source: frozen.id };
  const node = await shownNode(context, disk, methods);
  if (!node) return { source: live };
  const { id, virtualSizeBytes } = await getDisk(context.db, live);
  return { source: live, view: viewOf({ id, node, virtualSizeBytes, allocatedBytes: wayOf(disk, methods).bytes.read }) };
}

/**
 * Closes whatever is open of the views, and removes what they took; the guest goes on where it was stopped for them. What became the result itself, or is kept for the next one, stays,
 * unless `all`. Repeatable, and fine where nothing was opened.
 */
export async function closeViews(context: Context, methods: Methods, { all, restarts }: { readonly all: boolean; readonly restarts: boolean }): Promise<void> {
  const { hypervisor, params, limits, db } = context;
  for (const disk of by(params, methods, "live_mirror")) await hypervisor.endMirror(params.serverId, disk.target);
  if (has(methods, "backup_job")) await hypervisor.endBackup(params.serverId);
  await rm(captureFolder(limits.servers.dir, params.serverId), { recursive: true, force: true });
  for (const disk of params.disks) {
    const frozen = frozenAs(context, disk, methods);
    const stays = frozen?.holder.kind !== "ancestor";
    if (!frozen || (stays && !all) || !(await findDisk(db, frozen.id))) continue;
    await unfreezeDisk(context, (await liveDisk(context, disk).catch(() => undefined)) ?? frozen.id, frozen.id);
  }
  if (has(methods, "cold") && restarts) await goOn(hypervisor, params.serverId);
}

/** From where it was saved; one that is still being saved, for a process that ended, is waited for. */
async function goOn(hypervisor: Context["hypervisor"], id: string): Promise<void> {
  const guest = await hypervisor.stat(id);
  if (guest?.state === "paused" && guest.reason === "save") await hypervisor.save(id);
  else if (guest?.state !== "suspended") return;
  await hypervisor.start(id);
}

/** The method of each disk, by its target. */
export type Methods = Readonly<Record<string, CaptureMethod>>;

export function has(methods: Methods, ...wanted: CaptureMethod[]): boolean {
  return Object.values(methods).some((method) => wanted.includes(method));
}

/** The plan of the disk by its method. */
export function wayOf({ target, ways }: CapturedDisk, methods: Methods): Plan {
  const way = ways.find(({ capture }) => capture?.method === methods[target]);
  if (!way) throw new Error(`Broken invariant: disk ${target} has no plan for ${methods[target]}`);
  return way;
}

export async function liveDisk({ db }: Pick<Context, "db">, { deviceId, volumeId }: CapturedDisk): Promise<DiskId> {
  const id = volumeId === null ? (await findDevice(db, deviceId))?.disk_id : (await findVolume(db, volumeId))?.disk_id;
  if (!id) throw new AppError("gone", "The disk was deleted before it could be captured.");
  return diskId(id);
}

interface Frozen {
  readonly id: DiskId;
  readonly holder: Holder;
}

/** What the pool is to freeze, and who holds that: the result itself; a disk that is kept so that the next image can be made of what changes; or one for as long as the result is made from it. */
function frozenAs({ pools }: Pick<Context, "pools">, disk: CapturedDisk, methods: Methods): Frozen | undefined {
  const plan = wayOf(disk, methods);
  if (plan.strategy === "adopt") return { id: diskId(disk.becomes.id), holder: disk.becomes };
  const id = diskId(disk.viewId);
  if (plan.capture?.remembers === "pool") return { id, holder: { kind: "base", id: disk.becomes.id } };
  const held = { id, holder: { kind: "ancestor", id } } as const;
  if (methods[disk.target] === "pool_snapshot") return held;
  const { can } = pools.get(plan.target.pool);
  // A clone stands on what does not change: the live disk comes to stand on that too.
  return methods[disk.target] === "at_rest" && plan.strategy === "clone" && can.clone === "dependent" && !can.snapshotReadsSource ? held : undefined;
}

/** Undefined where the disk is read in its pool. */
async function shownNode(context: Context, disk: CapturedDisk, methods: Methods): Promise<BlockNode | undefined> {
  const { hypervisor, params, limits } = context;
  const method = methods[disk.target];
  if (method === "live_mirror") return mirrorNode(captureFolder(limits.servers.dir, params.serverId), disk.target, (await liveNode(context, disk)).live).node;
  if (method !== "backup_job") return undefined;
  const view = (await hypervisor.findBackup(params.serverId))?.find(({ target }) => target === disk.target);
  if (!view) throw new AppError("gone", `The guest of server ${params.serverId} ended, and with it the view of its disk ${disk.target}.`);
  return view.node;
}

async function liveNode(context: Context, disk: CapturedDisk): Promise<{ live: BlockNode; virtualSizeBytes: number; bytesPerSecondMax: number }> {
  const found = await getDisk(context.db, await liveDisk(context, disk));
  const pool = context.pools.get(found.pool);
  return { live: await pool.open(found, "read"), virtualSizeBytes: found.virtualSizeBytes, bytesPerSecondMax: pool.limits.bandwidthBytesPerSecondMax };
}

function by({ disks }: CaptureParams, methods: Methods, method: CaptureMethod): CapturedDisk[] {
  return disks.filter(({ target }) => methods[target] === method);
}

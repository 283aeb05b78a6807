import { devicesOf, updateDevice } from "#/db/block-devices.ts";
import { getDisk } from "#/db/disks.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { findServer, updateServer } from "#/db/servers.ts";
import { findVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import type { FileSystem } from "#/domain/file-system.ts";
import { diskId } from "#/domain/ids.ts";
import { POWER_STATES } from "#/domain/server.ts";
import type { Plan } from "#/planner/plan.ts";
import { beginDelete, markAttached, markDetached } from "#/saga/attached-volume.ts";
import { awaitOperation } from "#/saga/await-operation.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { bootGuest, defineGuest } from "#/saga/define-guest.ts";
import { keepGivenPassword } from "#/saga/given-password.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type NewDiskRecord, sourceDisk } from "#/saga/materialise.ts";
import { noWayBackOnce } from "#/saga/no-way-back.ts";
import { serverOf, settleFailed, settleServer, showTask } from "#/saga/server-record.ts";
import { preallocate } from "#/transfer/preallocate.ts";
import { growFileSystem } from "#/transfer/grow-file-system.ts";
import { removeFolder } from "#/vm/server-folder.ts";

export interface CreateServer {
  readonly serverId: string;
  /** How its local disks are made; the disk has the device's id. */
  readonly disks: readonly { readonly deviceId: string; readonly plan: Plan; readonly fileSystem?: FileSystem | undefined }[];
  /** Volumes that are being made for it. */
  readonly volumes: readonly { readonly volumeId: string; readonly operationId: string }[];
}

type Context = SagaContext<CreateServer>;

/**
 * Makes a server: its local disks and volumes, then its guest. The record is there already, `building`; it ends `active`, or in `error`
 * with a fault for its user, and without disks, guest, or volumes that were made for it.
 */
export const createServer: Saga<Context> = {
  name: "create-server",
  steps: noWayBackOnce(isLaunched, [
    {
      name: "record",
      run: async (context) => {
        assertBuilding((await serverOf(context)).vm_state);
        await keepGivenPassword(context);
      },
      undo: giveUp,
    },
    {
      name: "disks",
      run: makeDisks,
      undo: discardDisks,
    },
    {
      name: "volumes",
      run: takeVolumes,
    },
    {
      name: "define",
      run: define,
      undo: forgetGuest,
    },
    {
      name: "start",
      run: async (context, { signal }) => bootGuest(context, await serverOf(context), signal), // A volume may have been frozen since it was defined.
    },
    {
      name: "publish",
      run: publish,
    },
  ]),
};

async function makeDisks(context: Context, scope: StepScope): Promise<void> {
  const { disks } = context.params;
  await showTask(context, "block_device_mapping");
  for (const [index, disk] of disks.entries()) {
    const { deviceId, plan } = disk;
    const progress = shownProgress(context, scope, (fraction) => (index + fraction) / disks.length);
    const source = () => sourceDisk(context, plan);
    await makeDisk(context, { plan, target: targetOf(context, disk), source }, { ...scope, progress });
    await growRoot(context, disk, scope);
    await takeSpace(context, disk, scope);
    await updateDevice(context.db, deviceId, { disk_id: deviceId });
  }
}

/** A disk that is larger than its image's has room that its file system does not know of. What cannot be grown here is the guest's to grow: it boots anyway. */
async function growRoot({ db, pools, log, limits, params }: Context, { deviceId, plan }: CreateServer["disks"][number], { signal }: StepScope): Promise<void> {
  if (plan.source.kind !== "image") return;
  const disk = await getDisk(db, diskId(deviceId));
  const node = await pools.get(disk.pool).open(disk, "write");
  await growFileSystem(node, { signal, everywhere: limits.servers.resizeFsUsingBlockDevice }).catch((err) => {
    signal.throwIfAborted();
    log.warn({ server: params.serverId, err }, "the file system of the root disk could not be grown");
  });
}

async function takeSpace({ db, pools, limits }: Context, { deviceId, plan }: CreateServer["disks"][number], { signal }: StepScope): Promise<void> {
  if (limits.servers.preallocateImages === "none") return;
  const disk = await getDisk(db, diskId(deviceId));
  await preallocate(await pools.get(disk.pool).open(disk, "write"), plan.target.virtualSizeBytes, { signal });
}

async function discardDisks(context: Context, because: Failure): Promise<void> {
  await orSayWhy(context, because, async () => {
    for (const disk of context.params.disks) {
      await updateDevice(context.db, disk.deviceId, { disk_id: null });
      await discardTarget(context, targetOf(context, disk));
    }
  });
}

function targetOf({ params }: Context, { deviceId, plan, fileSystem }: CreateServer["disks"][number]): NewDiskRecord {
  const { pool, virtualSizeBytes, format } = plan.target;
  return { id: diskId(deviceId), pool, format, virtualSizeBytes, holder: { kind: "server", id: params.serverId }, fileSystem };
}

/** Waits for the volumes that are made for the server, then has all of its volumes. */
async function takeVolumes(context: Context, scope: StepScope): Promise<void> {
  const { db, clock, limits, params } = context;
  const signal = AbortSignal.any([scope.signal, AbortSignal.timeout(limits.servers.volumeWaitMsMax)]);
  for (const [index, { operationId }] of params.volumes.entries()) {
    const progress = shownProgress(context, scope, (fraction) => (index + fraction) / params.volumes.length);
    await awaitOperation(context, operationId, { signal, progress }).catch((error) => Promise.reject(tooLate(error, limits.servers.volumeWaitMsMax)));
  }
  await db.transaction().execute(async (trx) => {
    for (const device of await volumesOf(context, trx)) {
      const volume = await findVolume(trx, device.volume_id ?? "");
      if (!volume?.disk_id) throw new AppError("gone", `Volume ${device.volume_id} was deleted while the server was being made.`);
      await markAttached(trx, device, clock.nowMs());
    }
  });
}

function tooLate(error: unknown, limitMs: number): unknown {
  if (!(error instanceof DOMException) || error.name !== "TimeoutError") return error;
  return new AppError("timed_out", `Its volumes were not ready after ${limitMs / 1000} s (servers.volumeWaitMsMax).`, { cause: error });
}

/** Volumes that were there before are free again; those that were made for the server go. */
async function giveVolumesUp(context: Context): Promise<void> {
  const { db, clock, runner, limits } = context;
  for (const device of await volumesOf(context, db)) {
    const deletion = await db.transaction().execute(async (trx) => {
      await markDetached(trx, device, clock.nowMs());
      return device.made_volume && !limits.servers.keepVolumesOfFailed ? beginDelete(context, trx, device.volume_id ?? "") : undefined;
    });
    if (deletion) await runner.run(deletion);
  }
}

async function volumesOf({ params }: Context, db: Context["db"]): Promise<BlockDeviceTable[]> {
  return (await devicesOf(db, params.serverId)).filter(({ volume_id }) => volume_id !== null);
}

async function define(context: Context, { signal }: StepScope): Promise<void> {
  await showTask(context, "spawning");
  await defineGuest(context, await serverOf(context), signal);
}

async function forgetGuest(context: Context, because: Failure): Promise<void> {
  const { hypervisor, limits, params } = context;
  await orSayWhy(context, because, async () => {
    await hypervisor.destroy(params.serverId);
    await hypervisor.undefine(params.serverId);
  });
  await removeFolder(limits.servers.dir, params.serverId);
}

/** While the hypervisor or a pool is away nothing there can be ended, and this is tried again until it is back; the server says at once that it failed, and why. */
async function orSayWhy(context: Context, because: Failure, undo: () => Promise<void>): Promise<void> {
  try {
    await undo();
  } catch (error) {
    await markFailed(context, because);
    throw error;
  }
}

/** Its user may be working in it. */
async function isLaunched({ db, params }: Context): Promise<boolean> {
  return typeof (await findServer(db, params.serverId))?.launched_at === "number";
}

async function publish(context: Context): Promise<void> {
  if (await isLaunched(context)) return;
  const { db, clock, params } = context;
  await db.transaction().execute(async (trx) => {
    for (const { id, volume_id } of await devicesOf(trx, params.serverId)) if (volume_id === null) await updateDevice(trx, id, { state: "attached" });
    await settleServer({ ...context, db: trx }, { vm_state: "active", power_state: POWER_STATES.running, launched_at: clock.nowMs() });
  });
}

/** The volumes were given to the server with its record, and are given up with it. */
async function giveUp(context: Context, because: Failure): Promise<void> {
  await giveVolumesUp(context);
  await removeFolder(context.limits.servers.dir, context.params.serverId);
  await markFailed(context, because);
}

async function markFailed(context: Context, because: Failure): Promise<void> {
  const server = await findServer(context.db, context.params.serverId);
  if (server?.vm_state === "building") await settleFailed(context, because, { vm_state: "error", power_state: POWER_STATES.noState });
}

/** The server shows, in percent and at most once a second, how far its disks are. */
function shownProgress({ db, clock, params }: Context, scope: StepScope, overall: (fraction: number) => number): (fraction: number) => void {
  let shownMs = 0;
  return (fraction) => {
    scope.progress(overall(fraction));
    if (clock.nowMs() - shownMs < PROGRESS_MS) return;
    shownMs = clock.nowMs();
    updateServer(db, params.serverId, { progress: Math.floor(100 * overall(fraction)) }).catch(() => {}); // The next one shows it.
  };
}

const PROGRESS_MS = 1000;

function assertBuilding(vmState: string): void {
  if (vmState !== "building") throw new AppError("conflict", `The server became "${vmState}" while it was being made.`);
}

import { attachmentsOf, updateDevice } from "#/db/block-devices.ts";
import { getDisk, setDiskSize } from "#/db/disks.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import { volumeQuota } from "#/domain/quota.ts";
import { restingStatus } from "#/saga/attached-volume.ts";
import { awaitOperation } from "#/saga/await-operation.ts";
import type { CaptureParams } from "#/saga/captured-disk.ts";
import type { SagaContext } from "#/saga/context.ts";
import { volumeTypeOf } from "#/saga/delete-snapshot.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { tellUser } from "#/saga/tell-user.ts";

export interface ExtendVolume {
  readonly volumeId: string;
  /** The new size. */
  readonly sizeBytes: number;
  /** The size and status that the volume had, and goes back to when this fails. */
  readonly previousSizeBytes: number;
  readonly previousStatus: string;
}

type Context = SagaContext<ExtendVolume>;

/**
 * Makes a volume larger. The record is `extending`, and the quota is taken already. Bytes that were added are never taken
 * away again: where a later step fails, the disk stays longer than its volume, and the next extend finds it so.
 */
export const extendVolume: Saga<Context> = {
  name: "extend-volume",
  steps: [
    {
      name: "record",
      run: async (context) => void (await volumeDisk(context)),
      undo: giveUp,
    },
    {
      name: "resize",
      run: resize,
    },
    {
      name: "publish",
      run: publish,
      undo: ({ db, params }) => updateVolume(db, params.volumeId, { size_bytes: params.previousSizeBytes }),
    },
  ],
};

/** Captures of the volume that were asked for before come first: they are planned for a disk as large as it was, which stays so while it is read under its guest. */
async function resize(context: Context, scope: StepScope): Promise<void> {
  for (const capture of await openCaptures(context)) await awaitOperation(context, capture, scope).catch(() => scope.signal.throwIfAborted()); // However it ends.
  await resizeNow(context);
}

/** None begins while the volume is `extending`. */
async function openCaptures({ db, params }: Context): Promise<string[]> {
  const rows = await db.selectFrom("operation").select(["id", "params"]).where("ended_at", "is", null).where("saga", "=", "capture-server").execute();
  return rows.filter((row) => (JSON.parse(row.params) as CaptureParams).disks.some(({ volumeId }) => volumeId === params.volumeId)).map(({ id }) => id);
}

async function resizeNow(context: Context): Promise<void> {
  const { db, locks, params } = context;
  const id = await volumeDisk(context);
  await using _ = await locks.take(id);
  const disk = await getDisk(db, id);
  if (disk.virtualSizeBytes >= params.sizeBytes) return;
  await grow(context, disk);
  await db.transaction().execute((trx) => setDiskSize(trx, id, params.sizeBytes));
}

/** Where the guest was started or stopped since it was looked at, it is the other one's to grow the disk: the guest's, or the pool's. */
async function grow(context: Context, disk: Disk): Promise<void> {
  const device = await runningDevice(context);
  try {
    await growBy(context, disk, device);
  } catch (error) {
    const now = await runningDevice(context);
    if (now?.id === device?.id) throw error;
    await growBy(context, disk, now);
  }
}

/** A running guest's QEMU has the disk open and grows it, so that the guest sees it at once; a device must have grown before. */
async function growBy({ db, pools, hypervisor, params }: Context, disk: Disk, device: BlockDeviceTable | undefined): Promise<void> {
  const pool = pools.get(disk.pool);
  if (!device || isDevice(await pool.open(disk, "write"))) await pool.resize(disk, params.sizeBytes);
  if (!device) return;
  await hypervisor.resizeDisk(device.server_id, device.target, params.sizeBytes);
  await updateDevice(db, device.id, { size_bytes: params.sizeBytes });
}

/** Undefined where no guest runs that has the volume. */
async function runningDevice({ db, hypervisor, params: { volumeId } }: Context): Promise<BlockDeviceTable | undefined> {
  const device = (await attachmentsOf(db, [volumeId])).get(volumeId)?.[0];
  const guest = device && (await hypervisor.stat(device.server_id));
  return guest && ["running", "paused"].includes(guest.state) ? device : undefined;
}

function isDevice(node: BlockNode): boolean {
  return "file" in node ? isDevice(node.file) : node.driver === "host_device";
}

async function publish({ db, clock, params }: Context): Promise<void> {
  await db.transaction().execute(async (trx) => {
    const volume = await findVolume(trx, params.volumeId);
    const rests = { status: await restingStatus(trx, params.volumeId, params.previousStatus), previous_status: null };
    await updateVolume(trx, params.volumeId, { ...(volume?.status === "extending" && rests), size_bytes: params.sizeBytes, updated_at: clock.nowMs() }); // It may be going with its server.
  });
}

async function volumeDisk({ db, params }: Context): Promise<DiskId> {
  const volume = await findVolume(db, params.volumeId);
  if (!volume?.disk_id) throw new AppError("gone", "The volume was deleted before it could be extended.");
  return diskId(volume.disk_id);
}

async function giveUp(context: Context, because: Failure): Promise<void> {
  const { db, clock, params } = context;
  await db.transaction().execute(async (trx) => {
    const volume = await findVolume(trx, params.volumeId);
    if (!volume || volume.status === "error_extending") return;
    await updateVolume(trx, volume.id, { status: "error_extending", previous_status: null, updated_at: clock.nowMs() });
    await addQuotaUsage(trx, volume.project_id, difference(params, await volumeTypeOf(trx, volume.id)));
    await tellUser(trx, context, { kind: "volume", id: volume.id, projectId: volume.project_id }, "EXTEND_VOLUME", because);
  });
}

/** What the failed extend had taken of the quota, to be given back. */
function difference({ sizeBytes, previousSizeBytes }: ExtendVolume, type: string): Record<string, number> {
  const before = volumeQuota(previousSizeBytes, type);
  return Object.fromEntries(Object.entries(volumeQuota(sizeBytes, type)).map(([resource, amount]) => [resource, (before[resource] ?? 0) - amount]));
}

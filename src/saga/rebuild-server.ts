import { updateDevice } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { findDisk } from "#/db/disks.ts";
import { updateServer } from "#/db/servers.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import type { Holder } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { POWER_STATES, type VmState } from "#/domain/server.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bootGuest, defineGuest } from "#/saga/define-guest.ts";
import { bringBack } from "#/saga/bring-back.ts";
import { beginDrop } from "#/saga/drop-disk.ts";
import type { Failure, Saga, StepScope } from "#/saga/engine/saga.ts";
import { keepGivenPassword } from "#/saga/given-password.ts";
import { forgetBase } from "#/saga/kept-instant.ts";
import { makeDisk } from "#/saga/make-disk.ts";
import { discardTarget, type NewDiskRecord, sourceDisk } from "#/saga/materialise.ts";
import { standingOf } from "#/saga/power-state.ts";
import { serverOf, settleFailed, settleServer, showTask } from "#/saga/server-record.ts";

export interface RebuildServer {
  readonly serverId: string;
  /** The root device. */
  readonly deviceId: string;
  /** Where the server boots from a volume: it keeps its record and gets another disk. */
  readonly volumeId: string | null;
  readonly plan: Plan;
  readonly newDiskId: string;
  readonly oldDiskId: string;
  readonly before: RootImage;
  readonly after: RootImage;
  /** How the server was: one that did not run does not run afterwards. */
  readonly vmState: VmState;
}

/** What a server boots from, as its record has it; the properties and the form as JSON. */
export interface RootImage {
  readonly imageId: string | null;
  readonly properties: string;
  readonly form: string | null;
}

type Context = SagaContext<RebuildServer>;

/**
 * Gives a server a new root disk, made of an image; all else stays: its id, its other disks, its keys. The old disk goes when the new
 * one runs; until then everything can be as it was.
 */
export const rebuildServer: Saga<Context> = {
  name: "rebuild-server",
  steps: [
    {
      name: "record",
      run: async (context) => {
        await serverOf(context);
        await keepGivenPassword(context);
      },
      undo: markFailed,
    },
    {
      name: "disk",
      run: makeRoot,
      undo: async (context) => ((await isPublished(context)) ? undefined : discardTarget(context, targetOf(context))),
    },
    {
      name: "stop",
      run: pullPlug,
      undo: (context) => bringBack(context, { runs: runs(context) }), // On the disk that it has now: the old one, or, once published, the new one.
    },
    {
      name: "swap",
      run: (context) => swap(context, context.params.newDiskId, context.params.after),
      undo: async (context) => ((await isPublished(context)) ? undefined : swap(context, context.params.oldDiskId, context.params.before)),
    },
    {
      name: "boot",
      run: boot,
      undo: pullPlug,
    },
    {
      name: "publish",
      run: publish,
    },
  ],
};

async function makeRoot(context: Context, scope: StepScope): Promise<void> {
  const { plan } = context.params;
  await showTask(context, "rebuild_block_device_mapping");
  await makeDisk(context, { plan, target: targetOf(context), source: () => sourceDisk(context, plan) }, scope);
}

function targetOf({ params }: Context): NewDiskRecord {
  const { pool, virtualSizeBytes, format } = params.plan.target;
  const holder: Holder = params.volumeId ? { kind: "volume", id: params.volumeId } : { kind: "server", id: params.serverId };
  return { id: diskId(params.newDiskId), pool, format, virtualSizeBytes, holder };
}

/** Nothing of the old disk is wanted any more, so that nobody waits for the guest to write it. */
async function pullPlug({ hypervisor, params }: Context): Promise<void> {
  await hypervisor.destroy(params.serverId);
  await hypervisor.discardSaved(params.serverId);
}

async function swap({ db, clock, params }: Context, newDiskId: string, { imageId, properties, form }: RootImage): Promise<void> {
  await db.transaction().execute(async (trx) => {
    if (params.volumeId && newDiskId === params.newDiskId) await refuseExtended(trx, params);
    if (params.volumeId) await updateVolume(trx, params.volumeId, { disk_id: newDiskId, updated_at: clock.nowMs() });
    else await updateDevice(trx, params.deviceId, { disk_id: newDiskId });
    await updateServer(trx, params.serverId, { image_id: params.volumeId ? null : imageId, image_properties: properties, image_form: params.volumeId ? null : form });
  });
}

/** A volume that became larger since the plan was made would lose what it gained. */
async function refuseExtended(trx: Database, { volumeId, plan }: RebuildServer): Promise<void> {
  const volume = await findVolume(trx, volumeId ?? "");
  if (volume?.status === "extending" || volume?.size_bytes !== plan.target.virtualSizeBytes) {
    throw new AppError("conflict", `Volume ${volumeId} was extended while its server was being rebuilt.`);
  }
}

async function boot(context: Context, { signal }: StepScope): Promise<void> {
  await showTask(context, "rebuild_spawning");
  await (runs(context) ? bootGuest : defineGuest)(context, await serverOf(context), signal);
}

/** A server in error is tried to be brought back. */
function runs({ params }: Context): boolean {
  return params.vmState !== "stopped";
}

async function publish(context: Context): Promise<void> {
  if (await isPublished(context)) return;
  const { db, runner, params } = context;
  const drops = await db.transaction().execute(async (trx) => {
    await settleServer({ ...context, db: trx }, standing(context));
    return [await beginDrop(context, trx, diskId(params.oldDiskId)), ...(await forgetBase(context, trx, params.deviceId))];
  });
  for (const drop of drops) void runner.run(drop);
}

/** The old disk is nobody's: there is no way back. */
async function isPublished({ db, params }: { db: Database; params: RebuildServer }): Promise<boolean> {
  const old = await findDisk(db, diskId(params.oldDiskId));
  return old === undefined || old.holder.kind === "ancestor";
}

async function markFailed(context: Context, because: Failure): Promise<void> {
  await settleFailed(context, because, { ...standing(context), ...(await standingOf(context.hypervisor, context.params.serverId)) });
}

function standing(context: Context) {
  return runs(context) ? ({ vm_state: "active", power_state: POWER_STATES.running } as const) : ({ vm_state: "stopped", power_state: POWER_STATES.shutDown } as const);
}

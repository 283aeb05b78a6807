import { attachmentsOf, removeDevice, updateDevice } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { snapshotsOfVolume } from "#/db/snapshots.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import type { SagaContext } from "#/saga/context.ts";

/** The volume belongs to the server from now on. */
export async function markAttached(trx: Database, device: BlockDeviceTable, nowMs: number): Promise<void> {
  await updateDevice(trx, device.id, { state: "attached" });
  if (device.volume_id) await updateVolume(trx, device.volume_id, { status: "in-use", attach_status: "attached", updated_at: nowMs });
}

/** The volume is free again; one that others have too (multiattach) stays in use. */
export async function markDetached(trx: Database, device: BlockDeviceTable, nowMs: number): Promise<void> {
  await removeDevice(trx, device.id);
  if (device.volume_id) await freeVolume(trx, device.volume_id, nowMs);
}

async function freeVolume(trx: Database, volumeId: string, nowMs: number): Promise<void> {
  const volume = await findVolume(trx, volumeId);
  if (!volume) return;
  const isOthers = await isAttached(trx, volumeId);
  const isAwaited = (await attachmentsOf(trx, [volumeId])).size > 0;
  const isOurs = ["in-use", "attaching", "reserved", "detaching"].includes(volume.status); // Else other work on it is under way, or failed.
  const status = !isOurs || (isAwaited && !isOthers) ? volume.status : isOthers ? "in-use" : "available";
  await updateVolume(trx, volumeId, { status, attach_status: isOthers ? "attached" : "detached", updated_at: nowMs });
}

/** The status that a volume goes back to after work on it: its server may have been deleted meanwhile. */
export async function restingStatus(trx: Database, volumeId: string, previousStatus: string): Promise<string> {
  const isFree = (await findVolume(trx, volumeId))?.attach_status !== "attached";
  return previousStatus === "in-use" && isFree ? "available" : previousStatus;
}

async function isAttached(trx: Database, volumeId: string): Promise<boolean> {
  return (await attachmentsOf(trx, [volumeId])).get(volumeId)?.some(({ state }) => state !== "attaching") ?? false;
}

/**
 * Begins to delete a volume that goes with its server, in the transaction that takes it away; run the answer once that is committed. One that
 * another server has too, or that has snapshots, stays, as Cinder would not delete it.
 */
export async function beginDelete({ runner, clock, requestId }: SagaContext<object>, trx: Database, volumeId: string) {
  const volume = await findVolume(trx, volumeId);
  if (!volume || volume.status === "deleting") return undefined;
  if ((await attachmentsOf(trx, [volumeId])).size > 0 || (await snapshotsOfVolume(trx, volumeId)).length > 0) return undefined;
  await updateVolume(trx, volumeId, { status: "deleting", attach_status: "detached", updated_at: clock.nowMs() });
  const subject = { kind: "volume", id: volumeId };
  return runner.begin(trx, deleteVolume, { volumeId, cascade: false }, { projectId: volume.project_id, userId: volume.user_id, requestId, subject });
}

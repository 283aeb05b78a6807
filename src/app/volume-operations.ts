import type { AppContext } from "#/app/context.ts";
import type { Materialise } from "#/app/materialise.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { Volumes } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import { snapshotsOfVolume, updateSnapshot } from "#/db/snapshots.ts";
import type { VolumeTable } from "#/db/tables.ts";
import { findVolumeType } from "#/db/volume-types.ts";
import { changeVolumeIn } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { poolName } from "#/domain/ids.ts";
import { gigabyteQuota } from "#/domain/quota.ts";
import { SNAPSHOT_DELETABLE_BY_CASCADE } from "#/domain/snapshot.ts";
import { invalidInput, invalidVolume, orList, VOLUME_STATUSES, VOLUME_TRANSITIONS } from "#/domain/volume.ts";
import { GiB } from "#/lib/units.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import { extendVolume } from "#/saga/extend-volume.ts";
import type { Pools } from "#/storage/pools.ts";

interface VolumeOperationsParts {
  readonly volumes: Volumes;
  readonly quotas: Quotas;
  readonly materialise: Pick<Materialise, "refuseWithoutRoom">;
}

/** What is done to the bytes of volumes: each starts an operation, and returns when it is recorded. */
export class VolumeOperations {
  readonly #context: AppContext;
  readonly #parts: VolumeOperationsParts;

  constructor(context: AppContext, parts: VolumeOperationsParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /**
   * Starts the deletion. 400 where the status is not one to delete from, or the volume is attached, or it has snapshots and
   * they don't go along (`cascade`). With `force` (for admins) the status does not matter.
   */
  async delete(caller: Caller, id: string, { cascade, force }: { cascade: boolean; force: boolean }): Promise<void> {
    requireRole(caller, force ? "admin" : "member", "delete volumes");
    const { db, clock, runner, pools } = this.#context;
    const operationId = await db.transaction().execute(async (trx) => {
      const volume = await this.#parts.volumes.find(trx, caller, id);
      if (!force && volume.disk_id !== null) pools.refuseWhileDown(volume.pool);
      if (force && volume.status === "deleting") return undefined;
      const from = force ? VOLUME_STATUSES : VOLUME_TRANSITIONS.delete.from;
      const changed = await changeVolumeIn(trx, id, { from, changes: { status: "deleting", updated_at: clock.nowMs() } });
      if (!changed || isBusy(volume) || !(await this.#freeOfSnapshots(trx, id, { cascade, force }))) throw notDeletable(from, force);
      return runner.begin(trx, deleteVolume, { volumeId: id, cascade }, operationOf(caller, volume));
    });
    if (operationId) void runner.run(operationId);
  }

  /** Starts to make the volume larger, in GiB. `inUse`: also while it is attached. `pool_full` where its pool may not promise that much. */
  async extend(caller: Caller, id: string, sizeGib: number, { inUse }: { inUse: boolean }): Promise<void> {
    requireRole(caller, "member", "extend volumes");
    const { db, clock, runner, pools } = this.#context;
    const sizeBytes = sizeGib * GiB;
    const before = await this.#parts.volumes.find(db, caller, id);
    await this.#parts.materialise.refuseWithoutRoom(before.pool, Math.max(0, sizeBytes - before.size_bytes));
    const operationId = await db.transaction().execute(async (trx) => {
      const volume = await this.#parts.volumes.find(trx, caller, id);
      const { size_bytes: previousSizeBytes, status: previousStatus } = volume;
      refuseShrinking(previousSizeBytes, sizeBytes);
      if (previousStatus === "in-use") refuseFixed(volume, pools);
      const { from, to } = inUse ? VOLUME_TRANSITIONS.extendInUse : VOLUME_TRANSITIONS.extend;
      const changes = { status: to, previous_status: previousStatus, updated_at: clock.nowMs() };
      if (!(await changeVolumeIn(trx, id, { from, changes }))) {
        throw invalidVolume(
          `Volume ${id} status must be ${orList(from.map((status) => `'${status}'`))} to extend, currently ${previousStatus}.`,
        );
      }
      await this.#takeExtension(trx, volume, sizeBytes);
      return runner.begin(trx, extendVolume, { volumeId: id, sizeBytes, previousSizeBytes, previousStatus }, operationOf(caller, volume));
    });
    void runner.run(operationId);
  }

  async #takeExtension(trx: Database, volume: VolumeTable, sizeBytes: number): Promise<void> {
    const { quotas } = this.#parts;
    const type = await findVolumeType(trx, volume.volume_type_id);
    await quotas.refuseLargerVolume(trx, volume.project_id, sizeBytes / GiB);
    await quotas.take(trx, volume.project_id, gigabyteQuota(sizeBytes - volume.size_bytes, type?.name ?? ""));
  }

  /** Whether no snapshot is in the way; with `cascade` those that can go are marked as going. */
  async #freeOfSnapshots(trx: Database, volumeId: string, { cascade, force }: { cascade: boolean; force: boolean }): Promise<boolean> {
    const snapshots = await snapshotsOfVolume(trx, volumeId);
    if (!cascade) return snapshots.length === 0;
    const deletable: readonly string[] = SNAPSHOT_DELETABLE_BY_CASCADE;
    if (!force && snapshots.some(({ status }) => !deletable.includes(status))) return false;
    for (const { id } of snapshots) await updateSnapshot(trx, id, { status: "deleting", updated_at: this.#context.clock.nowMs() });
    return true;
  }
}

/** Migration statuses in which nobody moves the volume; cinder/volume/api.py `AVAILABLE_MIGRATION_STATUS`. */
const NOT_MIGRATING: readonly (string | null)[] = [null, "none", "deleting", "error", "success"];

function isBusy({ attach_status, migration_status }: VolumeTable): boolean {
  return attach_status === "attached" || !NOT_MIGRATING.includes(migration_status);
}

function notDeletable(from: readonly string[], force: boolean) {
  const status = force ? "" : `status must be ${orList(from)} and `;
  return invalidVolume(
    `Volume ${status}must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer.`,
  );
}

function refuseShrinking(sizeBytes: number, newSizeBytes: number): void {
  if (newSizeBytes > sizeBytes) return;
  throw invalidInput(
    `New size for extend must be greater than current size. (current: ${sizeBytes / GiB}, extended: ${newSizeBytes / GiB}).`,
  );
}

function refuseFixed({ id, pool }: VolumeTable, pools: Pools): void {
  const { growsInUse, why } = pools.get(poolName(pool)).can;
  if (growsInUse === false) throw invalidVolume(`Volume ${id} is attached, and in pool "${pool}" such volumes cannot be extended: ${why.growsInUse ?? "its storage has no such call"}. Detach it first.`);
}

function operationOf(caller: Caller, volume: VolumeTable) {
  return { projectId: volume.project_id, userId: caller.userId, requestId: caller.requestId, subject: { kind: "volume", id: volume.id } };
}

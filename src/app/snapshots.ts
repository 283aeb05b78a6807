import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { fetchPage, type ListRequest, listedProject, type Page, refuseUnknownMarker, sortBy } from "#/app/lists.ts";
import type { Materialise } from "#/app/materialise.ts";
import { findOpenVolume, planOpenVolume, type VolumeCapture } from "#/app/open-volume.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { Volumes } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import { getDisk } from "#/db/disks.ts";
import { type KeyValuePairs, snapshotMetadata } from "#/db/key-values.ts";
import {
  changeSnapshotIn,
  countSnapshots,
  findSnapshot,
  insertSnapshot,
  listSnapshots,
  SNAPSHOT_SORT_COLUMNS,
  type SnapshotFilter,
  updateSnapshot,
} from "#/db/snapshots.ts";
import type { SnapshotTable } from "#/db/tables.ts";
import { volumeTypeNames } from "#/db/volume-types.ts";
import { lockVolumeIn } from "#/db/volumes.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { snapshotQuota } from "#/domain/quota.ts";
import { invalidSnapshot, SNAPSHOT_DELETABLE, SNAPSHOT_STATUSES, snapshotNotFound } from "#/domain/snapshot.ts";
import { invalidVolume, orList, VOLUME_TRANSITIONS } from "#/domain/volume.ts";
import { captureServer } from "#/saga/capture-server.ts";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { deleteSnapshot } from "#/saga/delete-snapshot.ts";

/** A snapshot's record with its metadata. */
export interface Snapshot extends SnapshotTable {
  readonly metadata: KeyValuePairs;
}

export interface NewSnapshot {
  readonly volumeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly metadata: KeyValuePairs;
  /** Also of a volume that is in use. */
  readonly inUse: boolean;
}

export interface SnapshotListRequest extends ListRequest {
  readonly filter: Omit<SnapshotFilter, "projectId">;
  readonly projectId?: string | undefined;
}

/** Snapshots of volumes: frozen content, from which volumes are made. */
export class Snapshots {
  readonly #context: AppContext;
  readonly #volumes: Volumes;
  readonly #quotas: Quotas;
  readonly #materialise: Pick<Materialise, "planCapture">;

  constructor(context: AppContext, { volumes, quotas, materialise }: { volumes: Volumes; quotas: Quotas; materialise: Pick<Materialise, "planCapture"> }) {
    this.#context = context;
    this.#volumes = volumes;
    this.#quotas = quotas;
    this.#materialise = materialise;
  }

  async list(caller: Caller, request: SnapshotListRequest): Promise<Page<Snapshot>> {
    requireRole(caller, "reader", "list snapshots");
    const { db } = this.#context;
    const marker = request.marker === undefined ? undefined : await this.find(db, caller, request.marker);
    refuseUnknownMarker(marker, request.marker);
    const filter = this.#filter(caller, request);
    const { records, more } = await fetchPage(request, { sort: sortBy(request.sort, SNAPSHOT_SORT_COLUMNS), marker }, (page) =>
      listSnapshots(db, filter, page),
    );
    return { records: await withMetadata(db, records), more };
  }

  async count(caller: Caller, request: SnapshotListRequest): Promise<number> {
    requireRole(caller, "reader", "list snapshots");
    return countSnapshots(this.#context.db, this.#filter(caller, request));
  }

  async get(caller: Caller, id: string): Promise<Snapshot> {
    requireRole(caller, "reader", "see snapshots");
    const { db } = this.#context;
    const row = await this.find(db, caller, id);
    return { ...row, metadata: await snapshotMetadata.of(db, id) };
  }

  /** The snapshot's row; 404 where there is none, or it is of another project and the caller no admin. */
  async find(db: Database, caller: Caller, id: string): Promise<SnapshotTable> {
    const row = await findSnapshot(db, id);
    if (!row || (row.project_id !== caller.projectId && !isAdmin(caller))) throw snapshotNotFound(id);
    return row;
  }

  /** Records the snapshot, takes its quota, and starts to make it; it is `creating` when this returns. */
  async create(caller: Caller, { volumeId, name, description, metadata, inUse }: NewSnapshot): Promise<Snapshot> {
    requireRole(caller, "member", "create snapshots");
    const { db, clock, runner, pools } = this.#context;
    const now = clock.nowMs();
    const id = randomUUID();
    const capture = await this.#captureOfOpen(caller, volumeId);
    const { operationId, row } = await db.transaction().execute(async (trx) => {
      const volume = await this.#volumes.find(trx, caller, volumeId);
      pools.refuseWhileDown(volume.pool);
      await lockForSnapshot(trx, volume, inUse);
      const row: SnapshotTable = {
        id,
        volume_id: volumeId,
        project_id: volume.project_id,
        user_id: caller.userId,
        name,
        description,
        status: "creating",
        size_bytes: volume.size_bytes,
        disk_id: null,
        image_id: null,
        created_at: now,
        updated_at: now,
      };
      const type = (await volumeTypeNames(trx, [volume.volume_type_id])).get(volume.volume_type_id) ?? "";
      await this.#quotas.take(trx, row.project_id, snapshotQuota(row.size_bytes, type));
      await insertSnapshot(trx, row);
      await snapshotMetadata.merge(trx, row.id, metadata);
      const meta = operationOf(caller, row);
      if (!capture) return { row, operationId: await runner.begin(trx, createSnapshot, { snapshotId: id }, meta) };
      return { row, operationId: await runner.begin(trx, captureServer, { ...capture.as({ kind: "snapshot", id }), imageId: null }, { ...meta, plan: capture.plan }) };
    });
    void runner.run(operationId);
    return { ...row, metadata };
  }

  /** Under a guest that runs its bytes are captured, frozen where its agent can; undefined where nobody writes to them. */
  async #captureOfOpen(caller: Caller, volumeId: string): Promise<VolumeCapture | undefined> {
    const volume = await this.#volumes.find(this.#context.db, caller, volumeId);
    const open = await findOpenVolume(this.#context, volume);
    return open && planOpenVolume(this.#context, this.#materialise, open, { volume, where: {} });
  }

  async update(
    caller: Caller,
    id: string,
    { name, description }: { name?: string | null | undefined; description?: string | null | undefined },
  ): Promise<Snapshot> {
    requireRole(caller, "member", "change snapshots");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    await updateSnapshot(db, id, {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      updated_at: clock.nowMs(),
    });
    return this.get(caller, id);
  }

  /** Starts the deletion. With `force` (for admins) whatever the status. */
  async delete(caller: Caller, id: string, { force }: { force: boolean }): Promise<void> {
    requireRole(caller, force ? "admin" : "member", "delete snapshots");
    const { db, clock, runner, pools } = this.#context;
    const operationId = await db.transaction().execute(async (trx) => {
      const row = await this.find(trx, caller, id);
      if (!force && row.image_id !== null) throw invalidSnapshot(`Snapshot ${id} is part of image ${row.image_id}, and goes with it: delete the image.`);
      if (!force && row.disk_id !== null) pools.refuseWhileDown((await getDisk(trx, diskId(row.disk_id))).pool);
      if (force && row.status === "deleting") return undefined;
      const from = force ? SNAPSHOT_STATUSES : SNAPSHOT_DELETABLE;
      if (!(await changeSnapshotIn(trx, id, { from, changes: { status: "deleting", updated_at: clock.nowMs() } }))) {
        throw invalidSnapshot(`Snapshot status must be ${orList(from)} and must not be part of a group.`);
      }
      return runner.begin(trx, deleteSnapshot, { snapshotId: id }, operationOf(caller, row));
    });
    if (operationId) void runner.run(operationId);
  }

  /** Writes a status into the record, for an admin who knows better. */
  async resetStatus(caller: Caller, id: string, status: string): Promise<void> {
    requireRole(caller, "admin", "reset the status of snapshots");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    await updateSnapshot(db, id, { status, updated_at: clock.nowMs() });
  }

  async metadata(caller: Caller, id: string): Promise<KeyValuePairs> {
    return (await this.get(caller, id)).metadata;
  }

  /** Adds the pairs to those that are there, or with `replace` puts them in their place, and gives them all. */
  async setMetadata(caller: Caller, id: string, pairs: KeyValuePairs, { replace }: { replace: boolean }): Promise<KeyValuePairs> {
    requireRole(caller, "member", "change the metadata of snapshots");
    await this.#context.db.transaction().execute(async (trx) => {
      await this.find(trx, caller, id);
      await (replace ? snapshotMetadata.replace(trx, id, pairs) : snapshotMetadata.merge(trx, id, pairs));
    });
    return this.metadata(caller, id);
  }

  async removeMetadata(caller: Caller, id: string, name: string): Promise<void> {
    requireRole(caller, "member", "change the metadata of snapshots");
    const { db } = this.#context;
    await this.find(db, caller, id);
    if (!(await snapshotMetadata.remove(db, id, name))) throw noSuchKey(id, name);
  }

  async metadataItem(caller: Caller, id: string, name: string): Promise<string> {
    const value = (await this.metadata(caller, id))[name];
    if (value === undefined) throw noSuchKey(id, name);
    return value;
  }

  #filter(caller: Caller, request: SnapshotListRequest): SnapshotFilter {
    return { ...request.filter, projectId: listedProject(caller, request, request.projectId) };
  }
}

/** Holds the volume in a status that allows snapshots until the transaction ends, so that it is not deleted meanwhile. */
async function lockForSnapshot(trx: Database, { id, status }: { id: string; status: string }, inUse: boolean): Promise<void> {
  const { from } = inUse ? VOLUME_TRANSITIONS.snapshotInUse : VOLUME_TRANSITIONS.snapshot;
  if (await lockVolumeIn(trx, id, from)) return;
  throw invalidVolume(`Volume ${id} status must be ${from.join(", ")}, but current status is: ${status}.`);
}

async function withMetadata(db: Database, rows: readonly SnapshotTable[]): Promise<Snapshot[]> {
  const metadata = await snapshotMetadata.ofAll(
    db,
    rows.map(({ id }) => id),
  );
  return rows.map((row) => ({ ...row, metadata: metadata.get(row.id) ?? {} }));
}

function operationOf(caller: Caller, row: SnapshotTable) {
  return { projectId: row.project_id, userId: caller.userId, requestId: caller.requestId, subject: { kind: "snapshot", id: row.id } };
}

/** 404 in Cinder's words (exception.SnapshotMetadataNotFound). */
function noSuchKey(snapshotId: string, name: string): AppError {
  return new AppError("not_found", `Snapshot ${snapshotId} has no metadata with key ${name}.`);
}

import type { AppContext } from "#/app/context.ts";
import { fetchPage, type ListRequest, listedProject, type Page, refuseUnknownMarker, sortBy } from "#/app/lists.ts";
import { attachmentsOf } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, volumeImageMetadata, volumeMetadata } from "#/db/key-values.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import type { VolumeTable } from "#/db/tables.ts";
import {
  countVolumes,
  distinctVolumeMetadata,
  listVolumes,
  summarizeVolumes,
  VOLUME_SORT_COLUMNS,
  type VolumeFilter,
  type VolumeSummary,
} from "#/db/volume-lists.ts";
import { volumeTypeNames } from "#/db/volume-types.ts";
import { changeVolumeIn, findVolume, updateVolume } from "#/db/volumes.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { invalidVolume, orList, refuseMaintenance, VOLUME_TRANSITIONS, volumeNotFound } from "#/domain/volume.ts";

/** A volume's record with the name of its type and both kinds of metadata. */
export interface Volume extends VolumeTable {
  readonly volumeTypeName: string;
  /** The user's own pairs. */
  readonly metadata: KeyValuePairs;
  /** What is known of the image that it was made from. */
  readonly imageMetadata: KeyValuePairs;
  /** The servers that have it as a disk, or are about to. */
  readonly attachments: readonly BlockDeviceTable[];
}

export interface VolumeListRequest extends ListRequest {
  readonly filter: Omit<VolumeFilter, "projectId">;
  /** For admins that ask for all projects. */
  readonly projectId?: string | undefined;
}

export interface VolumeChanges {
  readonly name?: string | null | undefined;
  readonly description?: string | null | undefined;
  /** Takes the place of all metadata. */
  readonly metadata?: KeyValuePairs | undefined;
}

/** The statuses that an admin may write into a record; nothing else is done about it. */
export interface VolumeStatuses {
  readonly status?: string | undefined;
  readonly attachStatus?: string | undefined;
  readonly migrationStatus?: string | null | undefined;
}

/** Volumes as records: what is there, and what changes without touching bytes. */
export class Volumes {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async list(caller: Caller, request: VolumeListRequest): Promise<Page<Volume>> {
    requireRole(caller, "reader", "list volumes");
    const { db } = this.#context;
    const marker = request.marker === undefined ? undefined : await this.find(db, caller, request.marker);
    refuseUnknownMarker(marker, request.marker);
    const filter = this.#filter(caller, request);
    const { records, more } = await fetchPage(request, { sort: sortBy(request.sort, VOLUME_SORT_COLUMNS), marker }, (page) =>
      listVolumes(db, filter, page),
    );
    return { records: await withDetails(db, records), more };
  }

  /** How many volumes the list has on all its pages. */
  async count(caller: Caller, request: VolumeListRequest): Promise<number> {
    requireRole(caller, "reader", "list volumes");
    return countVolumes(this.#context.db, this.#filter(caller, request));
  }

  /** The number and size of the project's volumes (for admins of all), and every value that each metadata name has. */
  async summary(
    caller: Caller,
    { allProjects }: { allProjects: boolean },
  ): Promise<VolumeSummary & { metadata: { name: string; value: string }[] }> {
    requireRole(caller, "reader", "list volumes");
    const { db } = this.#context;
    const project = listedProject(caller, { allProjects });
    return { ...(await summarizeVolumes(db, project)), metadata: await distinctVolumeMetadata(db, project) };
  }

  async get(caller: Caller, id: string): Promise<Volume> {
    requireRole(caller, "reader", "see volumes");
    const { db } = this.#context;
    return withDetailsOf(db, await this.find(db, caller, id));
  }

  /** The volume's row; 404 where there is none, or it is of another project and the caller no admin. */
  async find(db: Database, caller: Caller, id: string): Promise<VolumeTable> {
    const row = await findVolume(db, id);
    if (!row || (row.project_id !== caller.projectId && !isAdmin(caller))) throw volumeNotFound(id);
    return row;
  }

  async update(caller: Caller, id: string, { name, description, metadata }: VolumeChanges): Promise<Volume> {
    requireRole(caller, "member", "change volumes");
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      const { status } = await this.find(trx, caller, id);
      refuseMaintenance(status, "The volume cannot be updated");
      await updateVolume(trx, id, {
        ...(name !== undefined && { name }),
        ...(description !== undefined && { description }),
        updated_at: clock.nowMs(),
      });
      if (metadata !== undefined) await volumeMetadata.replace(trx, id, metadata);
    });
    return this.get(caller, id);
  }

  async setBootable(caller: Caller, id: string, bootable: boolean): Promise<void> {
    requireRole(caller, "member", "change volumes");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    await updateVolume(db, id, { bootable: Number(bootable), updated_at: clock.nowMs() });
  }

  async setReadonly(caller: Caller, id: string, readonly: boolean): Promise<void> {
    requireRole(caller, "member", "change volumes");
    const { db, clock } = this.#context;
    const { status } = await this.find(db, caller, id);
    const changes = { readonly: Number(readonly), updated_at: clock.nowMs() };
    if (await changeVolumeIn(db, id, { from: VOLUME_TRANSITIONS.setReadonly.from, changes })) return;
    throw invalidVolume(`Volume ${id} status must be available to update readonly flag, but current status is: ${status}.`);
  }

  /** Marks the volume as about to be attached. */
  async reserve(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "reserve volumes");
    const { db, clock } = this.#context;
    const { status } = await this.find(db, caller, id);
    const { from, to } = VOLUME_TRANSITIONS.reserve;
    if (await changeVolumeIn(db, id, { from, changes: { status: to, updated_at: clock.nowMs() } })) return;
    throw invalidVolume(`Volume status must be ${orList(from)} to reserve, but the status is ${status}.`);
  }

  /** Takes the mark away again; nothing where there is none. */
  async unreserve(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "reserve volumes");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    const { from, to } = VOLUME_TRANSITIONS.unreserve;
    await changeVolumeIn(db, id, { from, changes: { status: to, updated_at: clock.nowMs() } });
  }

  /** Writes statuses into the record, for an admin who knows better. */
  async resetStatus(caller: Caller, id: string, { status, attachStatus, migrationStatus }: VolumeStatuses): Promise<void> {
    requireRole(caller, "admin", "reset the status of volumes");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    await updateVolume(db, id, {
      ...(status !== undefined && { status }),
      ...(attachStatus !== undefined && { attach_status: attachStatus }),
      ...(migrationStatus !== undefined && { migration_status: migrationStatus }),
      updated_at: clock.nowMs(),
    });
  }

  #filter(caller: Caller, request: VolumeListRequest): VolumeFilter {
    return { ...request.filter, projectId: listedProject(caller, request, request.projectId) };
  }
}

/** The volumes with their types' names, metadata and servers: four queries, however many they are. */
async function withDetails(db: Database, rows: readonly VolumeTable[]): Promise<Volume[]> {
  const ids = rows.map(({ id }) => id);
  const names = await volumeTypeNames(
    db,
    rows.map((row) => row.volume_type_id),
  );
  const metadata = await volumeMetadata.ofAll(db, ids);
  const imageMetadata = await volumeImageMetadata.ofAll(db, ids);
  const attachments = await attachmentsOf(db, ids);
  return rows.map((row) => ({
    ...row,
    volumeTypeName: names.get(row.volume_type_id) ?? "",
    metadata: metadata.get(row.id) ?? {},
    imageMetadata: imageMetadata.get(row.id) ?? {},
    attachments: attachments.get(row.id) ?? [],
  }));
}

export async function withDetailsOf(db: Database, row: VolumeTable): Promise<Volume> {
  const [volume] = await withDetails(db, [row]);
  if (!volume) throw new Error("Broken invariant: one row has one volume");
  return volume;
}

import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { fetchPage, type ListRequest, type Page, refuseUnknownMarker, sortBy } from "#/app/lists.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, volumeTypeExtraSpecs } from "#/db/key-values.ts";
import { removeQuotaResource, renameQuotaResource } from "#/db/quotas.ts";
import type { VolumeTypeTable } from "#/db/tables.ts";
import {
  addAccess,
  findVolumeType,
  findVolumeTypeByName,
  hasAccess,
  insertVolumeType,
  listVolumeTypes,
  projectsWithAccess,
  removeAccess,
  removeVolumeType,
  updateVolumeType,
  VOLUME_TYPE_SORT_COLUMNS,
} from "#/db/volume-types.ts";
import { hasVolumeOfType } from "#/db/volumes.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { TYPED_QUOTA_RESOURCES } from "#/domain/quota.ts";
import { refuseBadTypeName, visibleExtraSpecs, volumeTypeNotFound } from "#/domain/volume-type.ts";

/** A volume type with the extra specs that its reader may see. */
export interface VolumeType extends VolumeTypeTable {
  readonly extraSpecs: KeyValuePairs;
}

export interface NewVolumeType {
  readonly name: string;
  readonly description: string | null;
  readonly isPublic: boolean;
  readonly extraSpecs: KeyValuePairs;
}

export interface VolumeTypeChanges {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly isPublic?: boolean | undefined;
}

export interface VolumeTypeListRequest extends ListRequest {
  /** "all" is for admins. */
  readonly isPublic: boolean | "all";
  readonly extraSpecs?: KeyValuePairs | undefined;
  readonly name?: string | undefined;
}

/** Volume types: what a volume may be made as. Admins keep them; others see public ones and private ones they were given. */
export class VolumeTypes {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  /** Makes the type of volumes that name none, at the first start. */
  async bootstrap(): Promise<void> {
    const { db, config } = this.#context;
    const name = config.defaultVolumeType;
    await db.transaction().execute(async (trx) => {
      if (await findVolumeTypeByName(trx, name)) return;
      await this.#insert(trx, { name, description: "Default Volume Type", isPublic: true, extraSpecs: {} });
    });
  }

  async list(caller: Caller, request: VolumeTypeListRequest): Promise<Page<VolumeType>> {
    requireRole(caller, "reader", "list volume types");
    const { db } = this.#context;
    const asked = isAdmin(caller) ? request.isPublic : true;
    const filter = {
      isPublic: asked === "all" ? undefined : asked,
      accessibleTo: asked === true ? caller.projectId : undefined,
      extraSpecs: request.extraSpecs,
      name: request.name,
    };
    const marker = request.marker === undefined ? undefined : await findVolumeType(db, request.marker);
    refuseUnknownMarker(marker, request.marker);
    const page = await fetchPage(request, { sort: sortBy(request.sort, VOLUME_TYPE_SORT_COLUMNS), marker }, (p) =>
      listVolumeTypes(db, filter, p),
    );
    const specs = await volumeTypeExtraSpecs.ofAll(
      db,
      page.records.map(({ id }) => id),
    );
    return {
      more: page.more,
      records: page.records.map((row) => ({ ...row, extraSpecs: visibleExtraSpecs(specs.get(row.id) ?? {}, caller) })),
    };
  }

  /** The type, which the caller may see; 404 otherwise. */
  async get(caller: Caller, id: string): Promise<VolumeType> {
    requireRole(caller, "reader", "see volume types");
    const row = await findVolumeType(this.#context.db, id);
    if (!row || !(await this.#mayUse(caller, row))) throw volumeTypeNotFound(id);
    return { ...row, extraSpecs: visibleExtraSpecs(await this.extraSpecsOf(row.id), caller) };
  }

  /** The type of volumes that name none. */
  async getDefault(caller: Caller): Promise<VolumeType> {
    return this.get(caller, (await this.#default()).id);
  }

  /** The type that a volume is to have: by id or name; the default where none is named. 404 where the caller may not use it. */
  async resolve(caller: Caller, idOrName: string | undefined): Promise<VolumeTypeTable> {
    if (idOrName === undefined) return this.#default();
    const { db } = this.#context;
    const row = (await findVolumeType(db, idOrName)) ?? (await findVolumeTypeByName(db, idOrName));
    if (!row || !(await this.#mayUse(caller, row))) throw volumeTypeNotFound(idOrName);
    return row;
  }

  /** All extra specs, for choosing a pool. */
  async extraSpecsOf(volumeTypeId: string): Promise<KeyValuePairs> {
    return volumeTypeExtraSpecs.of(this.#context.db, volumeTypeId);
  }

  async create(caller: Caller, request: NewVolumeType): Promise<VolumeType> {
    requireRole(caller, "admin", "create volume types");
    refuseBadTypeName(request.name);
    return this.#context.db.transaction().execute(async (trx) => {
      await this.#refuseTakenName(trx, request.name);
      return this.#insert(trx, request);
    });
  }

  async update(caller: Caller, id: string, { name, description, isPublic }: VolumeTypeChanges): Promise<VolumeType> {
    requireRole(caller, "admin", "change volume types");
    if (name !== undefined) refuseBadTypeName(name);
    await this.#context.db.transaction().execute(async (trx) => {
      const row = await mustFind(trx, id);
      if (name !== undefined && name !== row.name) await this.#rename(trx, row, name);
      await updateVolumeType(trx, id, {
        ...(name !== undefined && { name }),
        ...(description !== undefined && { description }),
        ...(isPublic !== undefined && { is_public: Number(isPublic) }),
        updated_at: this.#context.clock.nowMs(),
      });
    });
    return this.get(caller, id);
  }

  /** Only a type that no volume has, and not the default. */
  async remove(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "admin", "delete volume types");
    const { db, config } = this.#context;
    await db.transaction().execute(async (trx) => {
      const row = await mustFind(trx, id);
      if (row.name === config.defaultVolumeType) {
        throw new AppError("bad_request", `Volume type with id ${id} is the default volume type and cannot be deleted.`);
      }
      if (await hasVolumeOfType(trx, id)) throw new AppError("bad_request", "Target volume type is still in use.");
      await removeVolumeType(trx, id);
      for (const resource of TYPED_QUOTA_RESOURCES) await removeQuotaResource(trx, `${resource}_${row.name}`);
    });
  }

  async setExtraSpecs(caller: Caller, id: string, pairs: KeyValuePairs): Promise<void> {
    requireRole(caller, "admin", "change extra specs");
    await this.#context.db.transaction().execute(async (trx) => {
      await mustFind(trx, id);
      await volumeTypeExtraSpecs.merge(trx, id, pairs);
    });
  }

  async removeExtraSpec(caller: Caller, id: string, name: string): Promise<void> {
    requireRole(caller, "admin", "change extra specs");
    await this.#context.db.transaction().execute(async (trx) => {
      await mustFind(trx, id);
      if (!(await volumeTypeExtraSpecs.remove(trx, id, name))) {
        throw new AppError("not_found", `Volume Type ${id} has no extra specs with key ${name}.`);
      }
    });
  }

  /** The projects that may use the private type; 404 for a public one. */
  async projectsOf(caller: Caller, id: string): Promise<string[]> {
    requireRole(caller, "admin", "see who may use a volume type");
    const { db } = this.#context;
    const row = await mustFind(db, id);
    if (row.is_public) throw new AppError("not_found", "Access list not available for public volume types.");
    return projectsWithAccess(db, id);
  }

  async grant(caller: Caller, id: string, projectId: string): Promise<void> {
    await this.#changeAccess(caller, id, async (trx) => {
      if (await addAccess(trx, id, projectId)) return;
      throw new AppError("conflict", `Volume type access for ${id} / ${projectId} combination already exists.`);
    });
  }

  async revoke(caller: Caller, id: string, projectId: string): Promise<void> {
    await this.#changeAccess(caller, id, async (trx) => {
      if (await removeAccess(trx, id, projectId)) return;
      throw new AppError("not_found", `Volume type access not found for ${id} / ${projectId} combination.`);
    });
  }

  async #changeAccess(caller: Caller, id: string, change: (trx: Database) => Promise<void>): Promise<void> {
    requireRole(caller, "admin", "change who may use a volume type");
    await this.#context.db.transaction().execute(async (trx) => {
      const row = await mustFind(trx, id);
      if (row.is_public) throw new AppError("bad_request", `Type access modification is not applicable to public volume type.`);
      await change(trx);
    });
  }

  async #insert(trx: Database, { name, description, isPublic, extraSpecs }: NewVolumeType): Promise<VolumeType> {
    const now = this.#context.clock.nowMs();
    const row = { id: randomUUID(), name, description, is_public: Number(isPublic), created_at: now, updated_at: now };
    await insertVolumeType(trx, row);
    await volumeTypeExtraSpecs.merge(trx, row.id, extraSpecs);
    return { ...row, extraSpecs };
  }

  async #rename(trx: Database, row: VolumeTypeTable, name: string): Promise<void> {
    if (row.name === this.#context.config.defaultVolumeType) {
      throw new AppError("bad_request", `Volume type ${row.id} is the default volume type: the configuration names it "${row.name}".`);
    }
    await this.#refuseTakenName(trx, name);
    for (const resource of TYPED_QUOTA_RESOURCES) await renameQuotaResource(trx, `${resource}_${row.name}`, `${resource}_${name}`);
  }

  async #refuseTakenName(trx: Database, name: string): Promise<void> {
    if (await findVolumeTypeByName(trx, name)) throw new AppError("conflict", `Volume Type ${name} already exists.`);
  }

  async #default(): Promise<VolumeTypeTable> {
    const { db, config } = this.#context;
    const row = await findVolumeTypeByName(db, config.defaultVolumeType);
    if (!row) throw new AppError("config_invalid", `The default volume type "${config.defaultVolumeType}" does not exist.`);
    return row;
  }

  async #mayUse(caller: Caller, row: VolumeTypeTable): Promise<boolean> {
    return isAdmin(caller) || row.is_public === 1 || hasAccess(this.#context.db, row.id, caller.projectId);
  }
}

async function mustFind(db: Database, id: string): Promise<VolumeTypeTable> {
  const row = await findVolumeType(db, id);
  if (!row) throw volumeTypeNotFound(id);
  return row;
}

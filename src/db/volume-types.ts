import { sql } from "kysely";
import type { Database } from "./database.ts";
import { type KeyValuePairs, volumeTypeExtraSpecs } from "./key-values.ts";
import { type PageRequest, pageOf } from "./page.ts";
import type { VolumeTypeTable } from "./tables.ts";

export async function insertVolumeType(trx: Database, row: VolumeTypeTable): Promise<void> {
  await trx.insertInto("volume_type").values(row).execute();
}

export async function findVolumeType(db: Database, id: string): Promise<VolumeTypeTable | undefined> {
  return db.selectFrom("volume_type").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function findVolumeTypeByName(db: Database, name: string): Promise<VolumeTypeTable | undefined> {
  return db.selectFrom("volume_type").selectAll().where("name", "=", name).executeTakeFirst();
}

/** The names of the types with these ids, in one query. */
export async function volumeTypeNames(db: Database, ids: readonly string[]): Promise<Map<string, string>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .selectFrom("volume_type")
    .select(["id", "name"])
    .where("id", "in", [...new Set(ids)])
    .execute();
  return new Map(rows.map(({ id, name }) => [id, name]));
}

export async function updateVolumeType(trx: Database, id: string, changes: Partial<VolumeTypeTable>): Promise<void> {
  await trx.updateTable("volume_type").set(changes).where("id", "=", id).execute();
}

/** Its extra specs and access rows go with it. */
export async function removeVolumeType(trx: Database, id: string): Promise<void> {
  await trx.deleteFrom("volume_type").where("id", "=", id).execute();
}

export interface VolumeTypeFilter {
  /** Undefined: public and private ones. */
  readonly isPublic?: boolean | undefined;
  /** With the private ones that this project was given access to. */
  readonly accessibleTo?: string | undefined;
  /** Pairs that the type's extra specs have. */
  readonly extraSpecs?: KeyValuePairs | undefined;
  readonly name?: string | undefined;
}

export const VOLUME_TYPE_SORT_COLUMNS: Readonly<Record<string, string>> = { id: "id", created_at: "created_at", name: "name" };

export async function listVolumeTypes(db: Database, filter: VolumeTypeFilter, page: PageRequest): Promise<VolumeTypeTable[]> {
  let query = db.selectFrom("volume_type").selectAll();
  const { isPublic, accessibleTo } = filter;
  if (isPublic !== undefined) {
    query = query.where((eb) => {
      const asAsked = eb("is_public", "=", isPublic ? 1 : 0);
      if (accessibleTo === undefined) return asAsked;
      return eb.or([
        asAsked,
        eb("id", "in", eb.selectFrom("volume_type_access").select("volume_type_id").where("project_id", "=", accessibleTo)),
      ]);
    });
  }
  if (filter.name !== undefined) query = query.where("name", "=", filter.name);
  for (const [name, value] of Object.entries(filter.extraSpecs ?? {})) {
    query = query.where(sql<boolean>`id in ${volumeTypeExtraSpecs.ownersOf(db, name, value)}`);
  }
  return pageOf(query, page).execute();
}

/** The projects that may use a private type. */
export async function projectsWithAccess(db: Database, volumeTypeId: string): Promise<string[]> {
  const rows = await db
    .selectFrom("volume_type_access")
    .select("project_id")
    .where("volume_type_id", "=", volumeTypeId)
    .orderBy("project_id")
    .execute();
  return rows.map((row) => row.project_id);
}

export async function hasAccess(db: Database, volumeTypeId: string, projectId: string): Promise<boolean> {
  const row = await db
    .selectFrom("volume_type_access")
    .select("project_id")
    .where("volume_type_id", "=", volumeTypeId)
    .where("project_id", "=", projectId)
    .executeTakeFirst();
  return row !== undefined;
}

/** False where the project has it already. */
export async function addAccess(trx: Database, volumeTypeId: string, projectId: string): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto("volume_type_access")
    .values({ volume_type_id: volumeTypeId, project_id: projectId })
    .onConflict((conflict) => conflict.columns(["volume_type_id", "project_id"]).doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

/** False where the project does not have it. */
export async function removeAccess(trx: Database, volumeTypeId: string, projectId: string): Promise<boolean> {
  const { numDeletedRows } = await trx
    .deleteFrom("volume_type_access")
    .where("volume_type_id", "=", volumeTypeId)
    .where("project_id", "=", projectId)
    .executeTakeFirst();
  return numDeletedRows === 1n;
}

import type { Flavor } from "#/domain/flavor.ts";
import type { FlavorTable } from "./compute-tables.ts";
import type { Database } from "./database.ts";
import { flavorExtraSpecs } from "./key-values.ts";
import { type PageRequest, pageOf } from "./page.ts";

/** With its extra specs. */
export async function insertFlavor(trx: Database, flavor: Flavor): Promise<void> {
  await trx.insertInto("flavor").values(rowOf(flavor)).execute();
  await flavorExtraSpecs.merge(trx, flavor.id, flavor.extraSpecs);
}

export async function findFlavor(db: Database, id: string): Promise<Flavor | undefined> {
  return withSpecs(db, await findFlavorRow(db, id));
}

export async function findFlavorByName(db: Database, name: string): Promise<Flavor | undefined> {
  return withSpecs(db, await db.selectFrom("flavor").selectAll().where("name", "=", name).executeTakeFirst());
}

/** The row as it is, for places in a list. */
export async function findFlavorRow(db: Database, id: string): Promise<FlavorTable | undefined> {
  return db.selectFrom("flavor").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function describeFlavor(trx: Database, id: string, description: string | null, nowMs: number): Promise<void> {
  await trx.updateTable("flavor").set({ description, updated_at: nowMs }).where("id", "=", id).execute();
}

/** Its extra specs and access rows go with it. False where there is none. */
export async function removeFlavor(trx: Database, id: string): Promise<boolean> {
  const { numDeletedRows } = await trx.deleteFrom("flavor").where("id", "=", id).executeTakeFirst();
  return numDeletedRows === 1n;
}

export interface FlavorFilter {
  /** Undefined: public and private ones. */
  readonly isPublic?: boolean | undefined;
  /** With the private ones that this project was given access to. */
  readonly accessibleTo?: string | undefined;
  readonly name?: string | undefined;
  readonly diskGibMin?: number | undefined;
  readonly ramMibMin?: number | undefined;
}

/** What a list can be sorted by, as Nova's API names it. */
export const FLAVOR_SORT_COLUMNS: Readonly<Record<string, string>> = {
  flavorid: "id",
  id: "id",
  name: "name",
  created_at: "created_at",
  updated_at: "updated_at",
  memory_mb: "ram_mib",
  root_gb: "disk_gib",
  ephemeral_gb: "ephemeral_gib",
  swap: "swap_mib",
  vcpus: "vcpus",
  rxtx_factor: "rxtx_factor",
  is_public: "is_public",
};

export async function listFlavors(db: Database, filter: FlavorFilter, page: PageRequest): Promise<Flavor[]> {
  const { isPublic, accessibleTo, name, diskGibMin, ramMibMin } = filter;
  let query = db.selectFrom("flavor").selectAll();
  if (isPublic !== undefined) {
    query = query.where((eb) => {
      const asAsked = eb("is_public", "=", isPublic ? 1 : 0);
      if (accessibleTo === undefined) return asAsked;
      return eb.or([asAsked, eb("id", "in", eb.selectFrom("flavor_access").select("flavor_id").where("project_id", "=", accessibleTo))]);
    });
  }
  if (name !== undefined) query = query.where("name", "=", name);
  if (diskGibMin !== undefined) query = query.where("disk_gib", ">=", diskGibMin);
  if (ramMibMin !== undefined) query = query.where("ram_mib", ">=", ramMibMin);
  const rows = await pageOf(query, page).execute();
  const ids = rows.map(({ id }) => id);
  const specs = await flavorExtraSpecs.ofAll(db, ids);
  return rows.map((row) => flavorOf(row, specs.get(row.id)));
}

/** The projects that may use a private flavor. */
export async function projectsOfFlavor(db: Database, id: string): Promise<string[]> {
  const rows = await db.selectFrom("flavor_access").select("project_id").where("flavor_id", "=", id).orderBy("project_id").execute();
  return rows.map(({ project_id }) => project_id);
}

export async function mayUseFlavor(db: Database, id: string, projectId: string): Promise<boolean> {
  const row = await db.selectFrom("flavor_access").select("project_id").where("flavor_id", "=", id).where("project_id", "=", projectId).executeTakeFirst();
  return row !== undefined;
}

/** False where the project has it already. */
export async function grantFlavor(trx: Database, id: string, projectId: string): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto("flavor_access")
    .values({ flavor_id: id, project_id: projectId })
    .onConflict((conflict) => conflict.columns(["flavor_id", "project_id"]).doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

/** False where the project does not have it. */
export async function revokeFlavor(trx: Database, id: string, projectId: string): Promise<boolean> {
  const { numDeletedRows } = await trx.deleteFrom("flavor_access").where("flavor_id", "=", id).where("project_id", "=", projectId).executeTakeFirst();
  return numDeletedRows === 1n;
}

async function withSpecs(db: Database, row: FlavorTable | undefined): Promise<Flavor | undefined> {
  return row && flavorOf(row, await flavorExtraSpecs.of(db, row.id));
}

function flavorOf(row: FlavorTable, extraSpecs: Flavor["extraSpecs"] = {}): Flavor {
  return {
    id: row.id,
    name: row.name,
    description: row.description,
    vcpus: row.vcpus,
    ramMib: row.ram_mib,
    diskGib: row.disk_gib,
    ephemeralGib: row.ephemeral_gib,
    swapMib: row.swap_mib,
    rxtxFactor: row.rxtx_factor,
    isPublic: row.is_public === 1,
    extraSpecs,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}

function rowOf(flavor: Flavor): FlavorTable {
  return {
    id: flavor.id,
    name: flavor.name,
    description: flavor.description,
    vcpus: flavor.vcpus,
    ram_mib: flavor.ramMib,
    disk_gib: flavor.diskGib,
    ephemeral_gib: flavor.ephemeralGib,
    swap_mib: flavor.swapMib,
    rxtx_factor: flavor.rxtxFactor,
    is_public: Number(flavor.isPublic),
    created_at: flavor.createdAtMs,
    updated_at: flavor.updatedAtMs,
  };
}

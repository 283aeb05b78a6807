import type { Database } from "./database.ts";

/** Limits by resource, as they were set; resources without a row have their default. −1 is unlimited. */
export type Limits = ReadonlyMap<string, number>;

/** The limits that were set for a project (or, under its reserved name, for the quota class). */
export async function quotaLimits(db: Database, projectId: string): Promise<Limits> {
  const rows = await db.selectFrom("quota").select(["resource", "limit_count"]).where("project_id", "=", projectId).execute();
  return new Map(rows.map(({ resource, limit_count }) => [resource, limit_count]));
}

export async function setQuotaLimits(trx: Database, projectId: string, limits: Readonly<Record<string, number>>): Promise<void> {
  const rows = Object.entries(limits).map(([resource, limit_count]) => ({ project_id: projectId, resource, limit_count }));
  if (rows.length === 0) return;
  await trx
    .insertInto("quota")
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(["project_id", "resource"]).doUpdateSet((eb) => ({ limit_count: eb.ref("excluded.limit_count") })),
    )
    .execute();
}

/** Takes away the limits that were set for these resources. */
export async function clearQuotaLimits(trx: Database, projectId: string, resources: readonly string[]): Promise<void> {
  await trx.deleteFrom("quota").where("project_id", "=", projectId).where("resource", "in", resources).execute();
}

/** A resource gets another name, as when a volume type is renamed: limits and usage of all projects follow. */
export async function renameQuotaResource(trx: Database, from: string, to: string): Promise<void> {
  await trx.updateTable("quota").set({ resource: to }).where("resource", "=", from).execute();
  await trx.updateTable("quota_usage").set({ resource: to }).where("resource", "=", from).execute();
}

/** A resource goes, as when a volume type is deleted. */
export async function removeQuotaResource(trx: Database, resource: string): Promise<void> {
  await trx.deleteFrom("quota").where("resource", "=", resource).execute();
  await trx.deleteFrom("quota_usage").where("resource", "=", resource).execute();
}

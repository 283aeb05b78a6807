import type { Database } from "./database.ts";

/** Amounts by resource: `volumes`, `gigabytes`, `snapshots`, and the same with `_<volume type>`. */
export type Amounts = Readonly<Record<string, number>>;

/** Adds to (or, negative, takes from) what the project uses, in the transaction that changes the record. */
export async function addQuotaUsage(trx: Database, projectId: string, amounts: Amounts): Promise<void> {
  for (const [resource, amount] of Object.entries(amounts)) {
    if (amount === 0) continue;
    await trx
      .insertInto("quota_usage")
      .values({ project_id: projectId, resource, used: amount })
      .onConflict((conflict) => conflict.columns(["project_id", "resource"]).doUpdateSet((eb) => ({ used: eb("quota_usage.used", "+", amount) })))
      .execute();
  }
}

export async function quotaUsage(db: Database, projectId: string): Promise<Map<string, number>> {
  const rows = await db.selectFrom("quota_usage").select(["resource", "used"]).where("project_id", "=", projectId).execute();
  return new Map(rows.map(({ resource, used }) => [resource, used]));
}

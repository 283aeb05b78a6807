import type { Database } from "#/db/database.ts";

/**
 * The ids that an operation works on now: of operations that have not ended, their subjects, and what their parameters name.
 * What belongs to them may be half-made.
 */
export async function openSubjects(db: Database): Promise<Set<string>> {
  const rows = await db.selectFrom("operation").select(["id", "subject_id", "params", "plan"]).where("ended_at", "is", null).where("state", "!=", "stuck").execute();
  const ids = new Set<string>();
  for (const row of rows) {
    ids.add(row.id).add(row.subject_id);
    for (const value of Object.values(JSON.parse(row.params) as object)) if (typeof value === "string") ids.add(value);
    const source = row.plan ? JSON.parse(row.plan).source?.id : undefined;
    if (source) ids.add(source);
  }
  return ids;
}

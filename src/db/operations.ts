import type { OperationId } from "#/domain/ids.ts";
import type { Database } from "./database.ts";
import type { OperationTable } from "./tables.ts";

export async function insertOperation(db: Database, row: OperationTable): Promise<void> {
  await db.insertInto("operation").values(row).execute();
}

export async function findOperation(db: Database, id: string): Promise<OperationTable | undefined> {
  return db.selectFrom("operation").selectAll().where("id", "=", id).executeTakeFirst();
}

export interface OperationFilter {
  /** Undefined: of all projects. */
  readonly projectId?: string | undefined;
  readonly subjectId?: string | undefined;
  readonly state?: OperationTable["state"] | undefined;
  readonly marker?: string | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listOperations(db: Database, filter: OperationFilter): Promise<OperationTable[]> {
  let query = db.selectFrom("operation").selectAll();
  if (filter.projectId !== undefined) query = query.where("project_id", "=", filter.projectId);
  if (filter.subjectId !== undefined) query = query.where("subject_id", "=", filter.subjectId);
  if (filter.state !== undefined) query = query.where("state", "=", filter.state);
  const marker = filter.marker === undefined ? undefined : await findOperation(db, filter.marker);
  if (marker) {
    query = query.where((eb) =>
      eb.or([eb("created_at", "<", marker.created_at), eb("created_at", "=", marker.created_at).and("id", "<", marker.id)]),
    );
  }
  return query.orderBy("created_at", "desc").orderBy("id", "desc").limit(filter.limit).execute();
}

/** Those of the sagas about the subject that came to a good end, newest first. */
export async function doneOperations(db: Database, { sagas, subjectId, limit }: { sagas: readonly string[]; subjectId: string; limit: number }): Promise<OperationTable[]> {
  return db
    .selectFrom("operation")
    .selectAll()
    .where("subject_id", "=", subjectId)
    .where("saga", "in", sagas)
    .where("state", "=", "done")
    .orderBy("created_at", "desc")
    .orderBy("id", "desc")
    .limit(limit)
    .execute();
}

/** One that has not ended, of the saga and about the subject. */
export async function findOpenOperation(db: Database, { saga, subjectId }: { saga: string; subjectId: string }): Promise<OperationTable | undefined> {
  return db
    .selectFrom("operation")
    .selectAll()
    .where("subject_id", "=", subjectId)
    .where("saga", "=", saga)
    .where("ended_at", "is", null)
    .executeTakeFirst();
}

/** Operations that nobody works on any more: not ended, and their lease is over (or, with `all`, whatever their lease). */
export async function abandonedOperations(db: Database, nowMs: number, all: boolean): Promise<OperationTable[]> {
  let query = db.selectFrom("operation").selectAll().where("ended_at", "is", null);
  if (!all) query = query.where("lease_until", "<", nowMs);
  return query.orderBy("created_at").execute();
}

/** Takes the lease from whoever `row` says had it. False where another worker was faster. */
export async function takeLease(db: Database, row: OperationTable, lease: { owner: string; until: number }): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("operation")
    .set({ lease_owner: lease.owner, lease_until: lease.until })
    .where("id", "=", row.id)
    .where("lease_until", "=", row.lease_until)
    .where("ended_at", "is", null)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** Renews all leases of `owner`, and gives the ids that it still holds. */
export async function renewLeases(db: Database, owner: string, until: number): Promise<Set<string>> {
  const rows = await db
    .updateTable("operation")
    .set({ lease_until: until })
    .where("lease_owner", "=", owner)
    .where("ended_at", "is", null)
    .returning("id")
    .execute();
  return new Set(rows.map(({ id }) => id));
}

export async function updateOperation(db: Database, id: OperationId, changes: Partial<OperationTable>): Promise<void> {
  await db.updateTable("operation").set(changes).where("id", "=", id).execute();
}

/** Removes ended operations older than `endedBefore`, some at a time; their journals go with them. */
export async function pruneOperations(db: Database, endedBefore: number, limit: number): Promise<number> {
  const old = db.selectFrom("operation").select("id").where("ended_at", "<", endedBefore).limit(limit);
  const { numDeletedRows } = await db.deleteFrom("operation").where("id", "in", old).executeTakeFirst();
  return Number(numDeletedRows);
}

import type { Database } from "./database.ts";

export interface JournalRow {
  readonly step: string;
  readonly event: "started" | "done" | "failed" | "undone";
  readonly because: string | null;
}

export async function readJournal(db: Database, operationId: string): Promise<JournalRow[]> {
  return db.selectFrom("journal").select(["step", "event", "because"]).where("operation_id", "=", operationId).orderBy("sequence").execute();
}

/** Appends rows after the `length` that are there, and notes on the operation where it stands, in one transaction. */
export async function appendJournal(
  db: Database,
  operationId: string,
  { rows, length, at }: { rows: readonly JournalRow[]; length: number; at: number },
): Promise<void> {
  const last = rows.at(-1);
  if (!last) return;
  await db.transaction().execute(async (trx) => {
    await trx
      .insertInto("journal")
      .values(rows.map((row, index) => ({ ...row, operation_id: operationId, sequence: length + index, at })))
      .execute();
    const state = last.event === "failed" || last.event === "undone" ? "undoing" : "running";
    await trx.updateTable("operation").set({ step: last.step, state, updated_at: at }).where("id", "=", operationId).execute();
  });
}

import type { Database } from "#/db/database.ts";
import { appendJournal, type JournalRow, readJournal } from "#/db/journal.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import type { Entry, Failure, Journal } from "#/saga/engine/saga.ts";

/** The journal of one operation, in the database. */
export class DatabaseJournal implements Journal {
  readonly #db: Database;
  readonly #operationId: OperationId;
  readonly #clock: Clock;
  #length = 0;

  constructor(db: Database, operationId: OperationId, clock: Clock) {
    this.#db = db;
    this.#operationId = operationId;
    this.#clock = clock;
  }

  async read(): Promise<readonly Entry[]> {
    const rows = await readJournal(this.#db, this.#operationId);
    this.#length = rows.length;
    return rows.map(toEntry);
  }

  async append(entries: readonly Entry[]): Promise<void> {
    await appendJournal(this.#db, this.#operationId, { rows: entries.map(toRow), length: this.#length, at: this.#clock.nowMs() });
    this.#length += entries.length;
  }
}

function toRow(entry: Entry): JournalRow {
  return { step: entry.step, event: entry.event, because: entry.event === "failed" ? JSON.stringify(entry.because) : null };
}

function toEntry({ step, event, because }: JournalRow): Entry {
  return event === "failed" ? { step, event, because: JSON.parse(because ?? "{}") as Failure } : { step, event };
}

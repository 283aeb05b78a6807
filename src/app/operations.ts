import { readJournal } from "#/db/journal.ts";
import { findOperation, listOperations, type OperationFilter } from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { operationId } from "#/domain/ids.ts";
import type { Plan } from "#/planner/plan.ts";
import type { Actual } from "#/saga/context.ts";
import type { AppContext } from "./context.ts";

/** A saga as its user sees it. Times are milliseconds since 1970 UTC. */
export interface Operation {
  readonly id: string;
  readonly kind: string;
  readonly projectId: string | null;
  readonly subject: { readonly kind: string; readonly id: string };
  readonly state: OperationTable["state"];
  readonly step: string | null;
  /** From 0 to 1, within the step. */
  readonly progress: number;
  readonly plan: Plan | undefined;
  readonly actual: Actual | undefined;
  readonly error: { readonly code: string; readonly message: string } | undefined;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly endedAtMs: number | null;
  readonly steps: readonly OperationStep[];
}

export interface OperationStep {
  readonly name: string;
  readonly state: "started" | "done" | "failed" | "undone";
  readonly because?: string;
}

/** How often an operation that another worker runs is looked at, for those who follow it. */
const POLL_MS = 500;

export class Operations {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async list(caller: Caller, filter: Omit<OperationFilter, "projectId">): Promise<Operation[]> {
    requireRole(caller, "reader", "list operations");
    const projectId = isAdmin(caller) ? undefined : caller.projectId;
    const rows = await listOperations(this.#context.db, { ...filter, projectId });
    return rows.map((row) => this.#toOperation(row, []));
  }

  async get(caller: Caller, id: string): Promise<Operation> {
    requireRole(caller, "reader", "see operations");
    const row = await this.#find(caller, id);
    const journal = await readJournal(this.#context.db, id);
    const steps = new Map<string, OperationStep>();
    for (const { step, event, because } of journal) {
      steps.set(step, { name: step, state: event, ...(because !== null && { because: JSON.parse(because).message }) });
    }
    return this.#toOperation(row, [...steps.values()]);
  }

  /** Asks for it to be undone; `conflict` where it has ended. */
  async cancel(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "cancel operations");
    const row = await this.#find(caller, id);
    if (row.ended_at !== null) throw new AppError("conflict", `The operation ${id} has ended already: ${row.state}.`);
    await this.#context.runner.cancel(operationId(id));
  }

  /** The operation now, and again whenever it changes, until it has ended or `signal` is set. */
  async *follow(caller: Caller, id: string, signal: AbortSignal): AsyncGenerator<Operation> {
    for (let changed = Promise.withResolvers<void>(); !signal.aborted; changed = Promise.withResolvers<void>()) {
      const unwatch = this.#context.runner.watch(id, changed.resolve);
      const timer = setTimeout(changed.resolve, POLL_MS);
      signal.addEventListener("abort", () => changed.resolve(), { once: true });
      try {
        const operation = await this.get(caller, id);
        yield operation;
        if (operation.endedAtMs !== null) return;
        await changed.promise;
      } finally {
        unwatch();
        clearTimeout(timer);
      }
    }
  }

  /** Another project's operation is as good as none. */
  async #find(caller: Caller, id: string): Promise<OperationTable> {
    const row = await findOperation(this.#context.db, id);
    if (!row || (!isAdmin(caller) && row.project_id !== caller.projectId)) throw new AppError("not_found", `There is no operation ${id}.`);
    return row;
  }

  #toOperation(row: OperationTable, steps: readonly OperationStep[]): Operation {
    const live = this.#context.runner.live(row.id);
    return {
      id: row.id,
      kind: row.saga,
      projectId: row.project_id,
      subject: { kind: row.subject_kind, id: row.subject_id },
      state: row.state,
      step: row.step,
      progress: row.ended_at === null && live ? live.fraction : row.progress,
      plan: row.plan === null ? undefined : JSON.parse(row.plan),
      actual: row.actual === null ? undefined : JSON.parse(row.actual),
      error: row.error_message === null ? undefined : { code: row.error_code ?? "unexpected", message: row.error_message },
      createdAtMs: row.created_at,
      updatedAtMs: row.updated_at,
      endedAtMs: row.ended_at,
      steps,
    };
  }
}

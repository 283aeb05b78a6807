import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Database } from "#/db/database.ts";
import {
  abandonedOperations,
  findOperation,
  insertOperation,
  pruneOperations,
  renewLeases,
  takeLease,
  updateOperation,
} from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import { AppError } from "#/domain/errors.ts";
import { type OperationId, operationId } from "#/domain/ids.ts";
import { runSaga, type Saga, SUSPEND } from "#/saga/engine/saga.ts";
import type { Actual, OperationMeta, OperationRunner, SagaContext, SagaServices } from "#/saga/context.ts";
import { awaitNeeds } from "#/saga/await-needs.ts";
import { DatabaseJournal } from "#/saga/database-journal.ts";

/** How often an undo that throws is tried again at once, before the operation is left `stuck` for the next round. */
const UNDO_ATTEMPTS = 3;
const UNDO_PAUSE_MS = 500;
/** A stuck operation is taken up again after this long. */
const STUCK_PAUSE_MS = 60_000;
/** Progress goes to the database at most this often. */
const PROGRESS_WRITE_MS = 500;

export interface RunnerLimits {
  /** How long a process may be silent before another takes its sagas. */
  readonly leaseMs: number;
  /** How long ended operations are kept. */
  readonly retentionMs: number;
  /** How long an operation that is taken up waits for its pools to come up; without it, not at all. */
  readonly waitMs?: number;
}

/** Any saga of ours: its parameters went into the journal as JSON, and come out of it. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters' type is the saga's own.
export type AnySaga = Saga<SagaContext<any>>;

/** How an operation is worked on here. */
interface Course {
  readonly extras: object;
  readonly waitMs: number;
}

interface Running {
  readonly stop: AbortController;
  readonly ended: Promise<OperationTable>;
  step: string;
  fraction: number;
  writtenAtMs: number;
}

/**
 * Runs sagas durably: `begin` records one in the caller's transaction, `run` works on it, and `recover` takes up
 * what a dead process left. One process at a time holds the lease of an operation.
 */
export class SagaRunner implements OperationRunner {
  readonly #services: SagaServices;
  readonly #sagas: ReadonlyMap<string, AnySaga>;
  readonly #limits: RunnerLimits;
  readonly #owner = `${hostname()}:${process.pid}:${randomUUID()}`;
  readonly #running = new Map<string, Running>();
  readonly #watchers = new Map<string, Set<() => void>>();
  #timer: NodeJS.Timeout | undefined;
  #closing = false;

  constructor(services: SagaServices, sagas: readonly AnySaga[], limits: RunnerLimits) {
    this.#services = services;
    this.#sagas = new Map(sagas.map((saga) => [saga.name, saga]));
    this.#limits = limits;
  }

  /** Records that `saga` is to be run, in the transaction `trx` that changes its subject. Call `run` once that is committed. */
  async begin<P extends object>(trx: Database, saga: Saga<SagaContext<P>>, params: P, meta: OperationMeta): Promise<OperationId> {
    const now = this.#services.clock.nowMs();
    const id = operationId(randomUUID());
    await insertOperation(trx, {
      id,
      saga: this.#saga(saga.name).name,
      params: JSON.stringify(params),
      project_id: meta.projectId,
      user_id: meta.userId,
      request_id: meta.requestId,
      subject_kind: meta.subject.kind,
      subject_id: meta.subject.id,
      plan: meta.plan ? JSON.stringify(meta.plan) : null,
      actual: null,
      state: "running",
      step: null,
      progress: 0,
      error_code: null,
      error_message: null,
      cancel_requested: 0,
      lease_owner: this.#owner,
      lease_until: now + this.#limits.leaseMs,
      created_at: now,
      updated_at: now,
      ended_at: null,
    });
    return id;
  }

  /**
   * Works on an operation that this process has the lease of, to its end. Never rejects: the answer is how the
   * operation stands then. `extras` reach the saga's context: streams and the like, which no other process can give.
   */
  run(id: OperationId, extras: object = {}): Promise<OperationTable> {
    return this.#run(id, { extras, waitMs: 0 });
  }

  #run(id: OperationId, course: Course): Promise<OperationTable> {
    const known = this.#running.get(id);
    if (known) return known.ended;
    const stop = new AbortController();
    if (this.#closing) stop.abort(SUSPEND);
    const ended = this.#work(id, stop.signal, course).finally(() => {
      this.#running.delete(id);
      this.#notify(id);
    });
    this.#running.set(id, { stop, ended, step: "", fraction: 0, writtenAtMs: 0 });
    return ended;
  }

  /** Asks that the operation be undone. It may still end done, when it is past its last step. */
  async cancel(id: OperationId): Promise<void> {
    await updateOperation(this.#services.db, id, { cancel_requested: 1 });
    this.#running.get(id)?.stop.abort(new AppError("cancelled", "It was cancelled by its user."));
  }

  /** The live progress of an operation that runs here, finer than the database has it. */
  live(id: string): { step: string; fraction: number } | undefined {
    return this.#running.get(id);
  }

  /** Calls `changed` at every change of the operation, until the answer is called. Changes by other processes are not seen. */
  watch(id: string, changed: () => void): () => void {
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(changed));
    return () => {
      watchers.delete(changed);
      if (watchers.size === 0) this.#watchers.delete(id);
    };
  }

  /**
   * Starts the heartbeat: leases are renewed, abandoned operations taken up, old ones pruned. With `alone` (no other
   * process can be alive on this state) everything that is open is taken up at once, and the answer counts it.
   */
  async start({ alone }: { alone: boolean }): Promise<number> {
    const taken = await this.#recover(alone);
    this.#timer = setInterval(() => void this.#beat(), this.#limits.leaseMs / 3);
    this.#timer.unref();
    return taken;
  }

  /** Suspends what runs and waits for it, `limitMs` at most; the next process goes on. */
  async close(limitMs: number): Promise<void> {
    this.#closing = true;
    clearInterval(this.#timer);
    for (const { stop } of this.#running.values()) stop.abort(SUSPEND);
    const all = Promise.allSettled([...this.#running.values()].map(({ ended }) => ended));
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, limitMs).unref())]);
  }

  async #work(id: OperationId, signal: AbortSignal, { extras, waitMs }: Course): Promise<OperationTable> {
    const { db, log } = this.#services;
    const row = await findOperation(db, id);
    if (!row) throw new Error(`Broken invariant: operation ${id} is not recorded`);
    const scope = log.child({ operation: id, saga: row.saga, [row.subject_kind]: row.subject_id, request: row.request_id });
    const startedMs = this.#services.clock.nowMs();
    scope.info({}, "operation started");
    if (waitMs > 0) await awaitNeeds(this.#services, row, { limitMs: waitMs, signal });
    await this.#untilEnded(row, signal, extras, scope);
    const ended = (await findOperation(db, id)) ?? row;
    scope.info({ state: ended.state, durationMs: this.#services.clock.nowMs() - startedMs, because: ended.error_message }, "operation ended");
    return ended;
  }

  async #untilEnded(row: OperationTable, signal: AbortSignal, extras: object, log: SagaServices["log"]): Promise<void> {
    const saga = this.#saga(row.saga);
    for (let attempt = 1, known = row; ; attempt++) {
      try {
        return await this.#once(saga, known, signal, extras);
      } catch (error) {
        log.error({ err: error, attempt }, "operation cannot be undone now");
        if (attempt >= UNDO_ATTEMPTS) return await this.#leaveStuck(row, error);
        await new Promise((resolve) => setTimeout(resolve, UNDO_PAUSE_MS * attempt));
        known = (await findOperation(this.#services.db, row.id)) ?? row; // With the facts that were reported since: undoing needs them.
      }
    }
  }

  async #once(saga: AnySaga, row: OperationTable, signal: AbortSignal, extras: object): Promise<void> {
    const { db, clock } = this.#services;
    const id = operationId(row.id);
    const cancelled = row.cancel_requested === 1 ? AbortSignal.abort(new AppError("cancelled", "It was cancelled by its user.")) : undefined;
    const outcome = await runSaga(saga, this.#context(row, extras), new DatabaseJournal(db, id, clock), {
      signal: cancelled ?? signal,
      onProgress: (step, fraction) => this.#progress(id, step, fraction),
    });
    if (outcome.ended === "suspended") return await updateOperation(db, id, { lease_until: 0 });
    const now = clock.nowMs();
    await updateOperation(db, id, {
      state: outcome.ended,
      progress: outcome.ended === "done" ? 1 : (this.#running.get(id)?.fraction ?? row.progress),
      ended_at: now,
      updated_at: now,
      ...(outcome.ended === "undone" && { error_code: outcome.because.code ?? "unexpected", error_message: outcome.because.message }),
    });
  }

  async #leaveStuck(row: OperationTable, error: unknown): Promise<void> {
    const { db, clock } = this.#services;
    await updateOperation(db, operationId(row.id), {
      state: "stuck",
      error_message: `It cannot be undone now, and is tried again: ${error instanceof Error ? error.message : error}`,
      lease_owner: null,
      lease_until: clock.nowMs() + STUCK_PAUSE_MS,
      updated_at: clock.nowMs(),
    });
  }

  #context(row: OperationTable, extras: object): SagaContext<object> {
    const id = operationId(row.id);
    const actual: Actual = row.actual ? JSON.parse(row.actual) : {};
    return {
      ...extras,
      ...this.#services,
      operationId: id,
      requestId: row.request_id ?? "",
      params: JSON.parse(row.params),
      plan: row.plan ? JSON.parse(row.plan) : undefined,
      actual,
      report: async (facts) => {
        Object.assign(actual, facts);
        await updateOperation(this.#services.db, id, { actual: JSON.stringify(actual) });
      },
      runner: this,
    };
  }

  #progress(id: OperationId, step: string, fraction: number): void {
    const running = this.#running.get(id);
    if (!running) return;
    Object.assign(running, { step, fraction: Math.min(1, Math.max(0, fraction)) });
    this.#notify(id);
    const now = this.#services.clock.nowMs();
    if (now - running.writtenAtMs < PROGRESS_WRITE_MS) return;
    running.writtenAtMs = now;
    updateOperation(this.#services.db, id, { progress: running.fraction, updated_at: now }).catch((err) =>
      this.#services.log.warn({ err, operation: id }, "progress not written"),
    );
  }

  #notify(id: string): void {
    for (const changed of this.#watchers.get(id) ?? []) changed();
  }

  async #beat(): Promise<void> {
    const { db, clock, log } = this.#services;
    try {
      const now = clock.nowMs();
      const held = await renewLeases(db, this.#owner, now + this.#limits.leaseMs);
      for (const [id, { stop }] of this.#running) if (!held.has(id)) stop.abort(SUSPEND);
      await this.#recover(false);
      await pruneOperations(db, now - this.#limits.retentionMs, 1000);
    } catch (err) {
      log.error({ err }, "heartbeat failed");
    }
  }

  async #recover(alone: boolean): Promise<number> {
    const { db, clock, log } = this.#services;
    const now = clock.nowMs();
    const abandoned = (await abandonedOperations(db, now, alone)).filter(({ id }) => !this.#running.has(id));
    for (const row of abandoned) {
      const taken = await takeLease(db, row, { owner: this.#owner, until: now + this.#limits.leaseMs });
      if (!taken) continue;
      log.info({ operation: row.id, saga: row.saga, state: row.state }, "operation taken up");
      void this.#run(operationId(row.id), { extras: {}, waitMs: this.#limits.waitMs ?? 0 });
    }
    return abandoned.length;
  }

  #saga(name: string): AnySaga {
    const saga = this.#sagas.get(name);
    if (!saga) throw new Error(`Broken invariant: saga ${name} is not registered`);
    return saga;
  }
}

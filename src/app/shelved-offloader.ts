import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { changeServerIn, shelvedLongerThan } from "#/db/servers.ts";
import type { OperationId } from "#/domain/ids.ts";
import { SERVER_ACTIONS } from "#/domain/server.ts";
import { MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { offloadServer } from "#/saga/offload-server.ts";

/** Has servers that have been shelved for long enough leave their host (`servers.shelvedOffloadMs`). nova/compute/manager.py `_poll_shelved_instances`. */
export class ShelvedOffloader implements Disposable {
  readonly #context: AppContext;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(context: AppContext) {
    this.#context = context;
    const { shelvedOffloadMs } = context.config.servers;
    if (shelvedOffloadMs < 0) return;
    // With 0 they leave as they are shelved: there are only those of another setting.
    const periodMs = shelvedOffloadMs === 0 ? MINUTE_MS : Math.min(MINUTE_MS, Math.max(SECOND_MS, shelvedOffloadMs));
    this.#timer = setInterval(() => void this.offloadDue(), periodMs).unref();
  }

  /** Begins with those that are due now, and answers when they have ended. One that cannot leave is tried again next time. */
  async offloadDue(): Promise<void> {
    const { db, clock, config, log, runner } = this.#context;
    try {
      const due = await shelvedLongerThan(db, clock.nowMs() - config.servers.shelvedOffloadMs);
      const begun = await Promise.all(due.map((server) => this.#begin(server)));
      await Promise.all(begun.flatMap((operation) => (operation ? runner.run(operation) : [])));
    } catch (err) {
      log.error({ err }, "cannot look for shelved servers that are to leave their host");
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  /** Undefined where something is being done to the server now. */
  #begin({ id, project_id: projectId }: ServerTable): Promise<OperationId | undefined> {
    const { db, clock, runner } = this.#context;
    const { from, task } = SERVER_ACTIONS.shelveOffload;
    const meta = { projectId, userId: null, requestId: `req-${randomUUID()}`, subject: { kind: "server", id } };
    return db.transaction().execute(async (trx) => {
      const taken = await changeServerIn(trx, id, { from, changes: { task_state: task, updated_at: clock.nowMs() } });
      return taken && runner.begin(trx, offloadServer, { serverId: id }, meta);
    });
  }
}

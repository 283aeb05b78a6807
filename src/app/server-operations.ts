import type { AppContext } from "#/app/context.ts";
import { recordStart } from "#/app/server-history.ts";
import type { Servers } from "#/app/servers.ts";
import type { Database } from "#/db/database.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { changeServerIn, updateServer } from "#/db/servers.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import type { OperationId } from "#/domain/ids.ts";
import { actionName, refusedInState, SERVER_ACTIONS, type ServerAction } from "#/domain/server.ts";
import { KiB } from "#/lib/units.ts";
import { deleteServer } from "#/saga/delete-server.ts";
import { type PowerAction, powerServer } from "#/saga/power-server.ts";
import type { DiskStats } from "#/vm/driver.ts";

/** What is done to servers: each starts an operation, and returns when it is recorded. */
export class ServerOperations {
  readonly #context: AppContext;
  readonly #servers: Servers;

  constructor(context: AppContext, servers: Servers) {
    this.#context = context;
    this.#servers = servers;
  }

  /** Starts, stops, reboots, pauses or suspends. 409 where the server's state does not allow it, or somebody has locked it. */
  async power(caller: Caller, id: string, action: PowerAction): Promise<void> {
    requireRole(caller, "member", "change the power of servers");
    const { db, clock, runner } = this.#context;
    const operationId = await db.transaction().execute(async (trx) => {
      const server = await this.#servers.findUnlocked(trx, caller, id);
      const { from, task } = SERVER_ACTIONS[action];
      const changes = { task_state: task, updated_at: clock.nowMs() };
      if (!(await changeServerIn(trx, id, { from, changes }))) throw refusedInState(actionName(action), server);
      await recordStart(trx, caller, server, { action: actionName(action).replace("os-", ""), nowMs: clock.nowMs() });
      return runner.begin(trx, powerServer, { serverId: id, action }, operationOf(caller, server));
    });
    void runner.run(operationId);
  }

  /** Starts the deletion, from every state: what is under way is ended first. Asked for again, it is under way already. */
  async delete(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "delete servers");
    const { db, clock, runner } = this.#context;
    const operationId = await db.transaction().execute(async (trx) => {
      const server = await this.#servers.findUnlocked(trx, caller, id);
      if (server.task_state === "deleting") return undefined;
      await updateServer(trx, id, { task_state: "deleting", updated_at: clock.nowMs() });
      await recordStart(trx, caller, server, { action: "delete", nowMs: clock.nowMs() });
      return runner.begin(trx, deleteServer, { serverId: id }, operationOf(caller, server));
    });
    if (operationId) void runner.run(operationId);
  }

  /** The end of what its console printed; `lines` undefined: all that is kept, 100 KiB at most as in Nova. */
  async consoleOutput(caller: Caller, id: string, lines?: number): Promise<string> {
    requireRole(caller, "member", "see the console of servers");
    const server = await this.#servers.find(this.#context.db, caller, id);
    if (["building", "shelved_offloaded"].includes(server.vm_state)) throw refusedInState("os-getConsoleOutput", server); // It is on no host.
    const output = await this.#context.hypervisor.consoleTail(id, CONSOLE_BYTES_MAX);
    if (lines === undefined || lines < 0) return output;
    return lines === 0 ? "" : `${output.replace(/\n$/, "").split("\n").slice(-lines).join("\n")}\n`;
  }

  /** What its disks have done since the guest started, by their names; for admins. */
  async diskStats(caller: Caller, id: string): Promise<Map<string, DiskStats>> {
    requireRole(caller, "admin", "see the diagnostics of servers");
    const { devices } = await this.#servers.get(caller, id);
    const stats = devices.map(async ({ target }) => [target, await this.#context.hypervisor.diskStats(id, target)] as const);
    return new Map(await Promise.all(stats));
  }
}

/** nova/virt/libvirt/driver.py `MAX_CONSOLE_BYTES`. */
const CONSOLE_BYTES_MAX = 100 * KiB;

export function operationOf(caller: Caller, server: ServerTable) {
  return { projectId: server.project_id, userId: caller.userId, requestId: caller.requestId, subject: { kind: "server", id: server.id } };
}

/** Marks the server as being changed, where its state allows it, and runs what `begin` records. `begin` sees it as it was; `extras` are what the saga is given beside its parameters, by this process alone. 409 where it cannot be now, or somebody has locked it. */
export async function startAction(
  { db, clock, runner }: Pick<AppContext, "db" | "clock" | "runner">,
  servers: Pick<Servers, "findUnlocked">,
  { caller, id, action }: { readonly caller: Caller; readonly id: string; readonly action: ServerAction },
  begin: (trx: Database, server: ServerTable) => Promise<OperationId>,
  extras: object = {},
): Promise<void> {
  const operationId = await db.transaction().execute(async (trx) => {
    const server = await servers.findUnlocked(trx, caller, id);
    const { from, task } = SERVER_ACTIONS[action];
    if (!(await changeServerIn(trx, id, { from, changes: { task_state: task, updated_at: clock.nowMs() } }))) throw refusedInState(action, server);
    await recordStart(trx, caller, server, { action, nowMs: clock.nowMs() });
    return begin(trx, server);
  });
  void runner.run(operationId, extras);
}

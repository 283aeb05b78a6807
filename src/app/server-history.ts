import type { Database } from "#/db/database.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { recordAction } from "#/db/servers.ts";
import type { Caller } from "#/domain/caller.ts";

interface Asked {
  /** nova/compute/instance_actions.py: `create`, `confirmResize`, `attach_volume`, … */
  readonly action: string;
  readonly nowMs: number;
}

/** Enters into a server's history that something was asked for; its saga enters how it ended. */
export async function recordStart(trx: Database, caller: Caller, server: Pick<ServerTable, "id" | "project_id">, { action, nowMs }: Asked): Promise<void> {
  await recordAction(trx, { ...entry(caller, server, { action, nowMs }), result: null, finished_at: null });
}

/** The same of what is done with its record. */
export async function recordDone(trx: Database, caller: Caller, server: Pick<ServerTable, "id" | "project_id">, { action, nowMs }: Asked): Promise<void> {
  await recordAction(trx, { ...entry(caller, server, { action, nowMs }), result: "Success", finished_at: nowMs });
}

function entry(caller: Caller, server: Pick<ServerTable, "id" | "project_id">, { action, nowMs }: Asked) {
  return { request_id: caller.requestId, server_id: server.id, project_id: server.project_id, user_id: caller.userId, action, message: null, started_at: nowMs };
}

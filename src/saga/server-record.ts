import { finishAction, findServer, updateTask } from "#/db/servers.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { AppError } from "#/domain/errors.ts";
import type { TaskState } from "#/domain/server.ts";
import { serverFault } from "#/domain/server-fault.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure } from "#/saga/engine/saga.ts";

export interface ServerParams {
  readonly serverId: string;
}

type Context = SagaContext<ServerParams>;

/** The server that an operation works on. `gone` where it was deleted meanwhile. */
export async function serverOf({ db, params }: Context): Promise<ServerTable> {
  const server = await findServer(db, params.serverId);
  if (!server) throw new AppError("gone", "The server was deleted meanwhile.");
  return server;
}

/** What is being done to the server now, for its user. */
export async function showTask({ db, clock, params }: Context, taskState: TaskState, progress = 0): Promise<void> {
  await updateTask(db, params.serverId, taskState, { progress, updated_at: clock.nowMs() });
}

/** The work is done: the server is as `changes` says, and rests. */
export async function settleServer(context: Context, changes: Partial<ServerTable>): Promise<void> {
  const { db, clock, params } = context;
  await updateTask(db, params.serverId, null, { progress: 0, updated_at: clock.nowMs(), ...changes });
  await finishServerAction(context);
}

/** The work failed: the server says why, and rests as `changes` says. */
export async function settleFailed(context: Context, because: Failure, changes: Partial<ServerTable> = {}): Promise<void> {
  const { db, clock, params } = context;
  const nowMs = clock.nowMs();
  const fault = serverFault(because, { requestId: context.requestId, nowMs });
  await updateTask(db, params.serverId, null, { progress: 0, updated_at: nowMs, fault: JSON.stringify(fault), ...changes });
  await finishServerAction(context, because);
}

/** How what was asked for of the server ended, for its history. */
export async function finishServerAction({ db, clock, params, requestId }: Context, because?: Failure): Promise<void> {
  const nowMs = clock.nowMs();
  const message = because ? serverFault(because, { requestId, nowMs }).message : null;
  await finishAction(db, { serverId: params.serverId, requestId }, { result: because ? "Error" : "Success", message, finished_at: nowMs });
}

import { findServer } from "#/db/servers.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { asAppError } from "#/domain/errors.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bootGuest, defineGuest } from "#/saga/define-guest.ts";
import type { ServerParams } from "#/saga/server-record.ts";

/**
 * The guest is as its records say again, and runs where it ran: the way back of what stopped it. A guest that cannot be brought back stays
 * off, for its user to see and to start, and a server that was deleted meanwhile has none. What is away (the hypervisor, a pool) comes back: then this
 * throws, to be tried again.
 */
export async function bringBack(context: SagaContext<ServerParams>, { runs, changes = {} }: { readonly runs: boolean; readonly changes?: Partial<ServerTable> }): Promise<void> {
  const { db, log, params } = context;
  const server = await findServer(db, params.serverId);
  if (!server) return;
  try {
    await (runs ? bootGuest : defineGuest)(context, { ...server, ...changes });
  } catch (err) {
    if (["hypervisor_unavailable", "pool_unavailable"].includes(asAppError(err)?.code ?? "")) throw err;
    log.warn({ server: params.serverId, err }, "the guest could not be brought back");
  }
}

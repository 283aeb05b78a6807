import type { ServerTable } from "#/db/server-tables.ts";
import type { SagaServices } from "#/saga/context.ts";
import { guestSpec } from "#/saga/guest-spec.ts";
import { serverFacts } from "#/saga/server-facts.ts";
import { prepareFolder } from "#/vm/server-folder.ts";

/** Tells the hypervisor the server's hardware, as its records say now. Repeatable. */
export async function defineGuest(services: SagaServices, server: ServerTable, signal?: AbortSignal): Promise<void> {
  const { db, hypervisor, limits } = services;
  const facts = server.config_drive ? await serverFacts(db, server) : undefined;
  const folder = await prepareFolder(limits.servers.dir, server.id, facts);
  await hypervisor.define(await guestSpec(services, server, folder), { signal });
}

import type { Database } from "#/db/database.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import type { SagaContext } from "#/saga/context.ts";
import { guestSpec } from "#/saga/guest-spec.ts";
import { keepInPlace } from "#/saga/open-in-guest.ts";
import { serverFacts } from "#/saga/server-facts.ts";
import { passwordOf } from "#/vm/admin-password.ts";
import { prepareFolder } from "#/vm/server-folder.ts";

/** Tells the hypervisor the server's hardware, as its records say now. Repeatable. */
export async function defineGuest(services: SagaContext<object>, server: ServerTable, signal?: AbortSignal): Promise<void> {
  await using _ = await keepInPlace(services, await disksOfServer(services.db, server.id));
  await define(services, server, signal);
}

/** The same, and starts the guest, before anybody can give the bytes of its disks another name. Fine where it runs already. */
export async function bootGuest(services: SagaContext<object>, server: ServerTable, signal?: AbortSignal): Promise<void> {
  await using _ = await keepInPlace(services, await disksOfServer(services.db, server.id));
  await define(services, server, signal);
  await services.hypervisor.start(server.id, { signal });
}

async function define(services: SagaContext<object>, server: ServerTable, signal: AbortSignal | undefined): Promise<void> {
  const { db, hypervisor, limits } = services;
  const facts = server.config_drive ? { ...(await serverFacts(db, server)), adminPassword: await passwordOf(limits.servers.dir, server.id) } : undefined;
  const folder = await prepareFolder(limits.servers.dir, server.id, facts);
  await hypervisor.define(await guestSpec(services, server, folder), { signal });
}

async function disksOfServer(db: Database, serverId: string): Promise<string[]> {
  const rows = await db
    .selectFrom("block_device")
    .leftJoin("volume", "volume.id", "block_device.volume_id")
    .select(["block_device.disk_id as own", "volume.disk_id as ofVolume"])
    .where("server_id", "=", serverId)
    .execute();
  return rows.flatMap(({ own, ofVolume }) => own ?? ofVolume ?? []);
}

import type { Selectable } from "kysely";
import type { ComputeServiceTable } from "./compute-tables.ts";
import type { Database } from "./database.ts";

export type ComputeServiceRow = Selectable<ComputeServiceTable>;

/** Makes the host known, enabled, where it is not. */
export async function ensureComputeService(db: Database, host: string, { id, nowMs }: { id: string; nowMs: number }): Promise<void> {
  await db
    .insertInto("compute_service")
    .values({ id, host, disabled: 0, disabled_reason: null, forced_down: 0, updated_at: nowMs })
    .onConflict((conflict) => conflict.column("host").doNothing())
    .execute();
}

/** In the order in which they became known. */
export async function listComputeServices(db: Database): Promise<ComputeServiceRow[]> {
  return db.selectFrom("compute_service").selectAll().orderBy("number").execute();
}

export async function findComputeService(db: Database, host: string): Promise<ComputeServiceRow | undefined> {
  return db.selectFrom("compute_service").selectAll().where("host", "=", host).executeTakeFirst();
}

export async function updateComputeService(
  trx: Database,
  id: string,
  changes: Partial<Pick<ComputeServiceRow, "disabled" | "disabled_reason" | "forced_down" | "updated_at">>,
): Promise<void> {
  await trx.updateTable("compute_service").set(changes).where("id", "=", id).execute();
}

export async function removeComputeService(trx: Database, id: string): Promise<void> {
  await trx.deleteFrom("compute_service").where("id", "=", id).execute();
}

/** What the servers of a host were given, in all. */
export interface HostUse {
  readonly servers: number;
  /** Of them, those to which something is being done. */
  readonly busy: number;
  readonly vcpus: number;
  readonly ramMib: number;
  readonly diskGib: number;
}

/** Those that are offloaded have nothing there. */
export async function useOfHost(db: Database, host: string): Promise<HostUse> {
  const rows = await serversOnHost(db, host);
  const flavors = rows.map(({ flavor }) => JSON.parse(flavor) as { vcpus: number; ramMib: number; diskGib: number; ephemeralGib: number });
  return {
    servers: rows.length,
    busy: rows.filter(({ task_state }) => task_state !== null).length,
    vcpus: flavors.reduce((sum, { vcpus }) => sum + vcpus, 0),
    ramMib: flavors.reduce((sum, { ramMib }) => sum + ramMib, 0),
    diskGib: flavors.reduce((sum, { diskGib, ephemeralGib }) => sum + diskGib + ephemeralGib, 0),
  };
}

export async function serversOnHost(db: Database, host: string) {
  return db
    .selectFrom("server")
    .select(["id", "name", "flavor", "task_state"])
    .where("host", "=", host)
    .where("vm_state", "!=", "shelved_offloaded")
    .orderBy("created_at")
    .orderBy("id")
    .execute();
}

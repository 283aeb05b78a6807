import type { Aggregate } from "#/domain/aggregate.ts";
import type { Database } from "./database.ts";
import { aggregateMetadata } from "./key-values.ts";

/** Undefined where another has the name. */
export async function insertAggregate(trx: Database, { uuid, name, nowMs }: { uuid: string; name: string; nowMs: number }): Promise<number | undefined> {
  const row = await trx
    .insertInto("aggregate")
    .values({ uuid, name, created_at: nowMs, updated_at: nowMs })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id")
    .executeTakeFirst();
  return row?.id;
}

/** With hosts and metadata: three queries, however many they are. */
export async function listAggregates(db: Database): Promise<Aggregate[]> {
  const rows = await db.selectFrom("aggregate").selectAll().orderBy("id").execute();
  const hosts = await db.selectFrom("aggregate_host").selectAll().orderBy("host").execute();
  const metadata = await aggregateMetadata.ofAll(
    db,
    rows.map(({ id }) => String(id)),
  );
  return rows.map(({ id, uuid, name, created_at, updated_at }) => ({
    id,
    uuid,
    name,
    hosts: hosts.filter(({ aggregate_id }) => aggregate_id === id).map(({ host }) => host),
    metadata: metadata.get(String(id)) ?? {},
    createdAtMs: created_at,
    updatedAtMs: updated_at,
  }));
}

export async function findAggregate(db: Database, id: number): Promise<Aggregate | undefined> {
  return (await listAggregates(db)).find((aggregate) => aggregate.id === id);
}

export async function updateAggregate(trx: Database, id: number, changes: { name?: string; updated_at: number }): Promise<void> {
  await trx.updateTable("aggregate").set(changes).where("id", "=", id).execute();
}

/** Its hosts and metadata go with it. */
export async function removeAggregate(trx: Database, id: number): Promise<void> {
  await trx.deleteFrom("aggregate").where("id", "=", id).execute();
}

export async function addAggregateHost(trx: Database, id: number, host: string): Promise<void> {
  await trx.insertInto("aggregate_host").values({ aggregate_id: id, host }).execute();
}

/** False where it is not among them. */
export async function removeAggregateHost(trx: Database, id: number, host: string): Promise<boolean> {
  const { numDeletedRows } = await trx.deleteFrom("aggregate_host").where("aggregate_id", "=", id).where("host", "=", host).executeTakeFirst();
  return numDeletedRows === 1n;
}

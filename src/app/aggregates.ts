import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import type { ComputeHosts } from "#/app/compute-hosts.ts";
import { addAggregateHost, findAggregate, insertAggregate, listAggregates, removeAggregate, removeAggregateHost, updateAggregate } from "#/db/aggregates.ts";
import type { Database } from "#/db/database.ts";
import { aggregateMetadata } from "#/db/key-values.ts";
import { type Aggregate, aggregateNotFound, refuseSecondZone, ZONE_KEY, zoneOfAggregate } from "#/domain/aggregate.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";

export interface AggregateChanges {
  readonly name?: string | undefined;
  /** Null: it is no zone. */
  readonly zone?: string | null | undefined;
}

/** Groups of hosts, for admins. */
export class Aggregates {
  readonly #context: AppContext;
  readonly #hosts: ComputeHosts;

  constructor(context: AppContext, hosts: ComputeHosts) {
    this.#context = context;
    this.#hosts = hosts;
  }

  async list(caller: Caller): Promise<Aggregate[]> {
    requireRole(caller, "admin", "see aggregates");
    return listAggregates(this.#context.db);
  }

  /** 404 where there is none. */
  async get(caller: Caller, id: number): Promise<Aggregate> {
    requireRole(caller, "admin", "see aggregates");
    return mustFind(this.#context.db, id);
  }

  async create(caller: Caller, { name, zone }: { name: string; zone: string | null }): Promise<Aggregate> {
    requireRole(caller, "admin", "create aggregates");
    const { db, clock } = this.#context;
    return db.transaction().execute(async (trx) => {
      const id = await insertAggregate(trx, { uuid: randomUUID(), name, nowMs: clock.nowMs() });
      if (id === undefined) throw nameTaken(name);
      if (zone !== null) await aggregateMetadata.merge(trx, String(id), { [ZONE_KEY]: zone });
      return mustFind(trx, id);
    });
  }

  async update(caller: Caller, id: number, { name, zone }: AggregateChanges): Promise<Aggregate> {
    return this.#change(caller, id, async (trx, aggregate) => {
      if (name !== undefined && name !== aggregate.name && (await listAggregates(trx)).some((other) => other.name === name)) throw nameTaken(name);
      if (zone !== undefined) await setMetadata(trx, aggregate, { [ZONE_KEY]: zone });
      if (name !== undefined) await updateAggregate(trx, id, { name, updated_at: this.#context.clock.nowMs() });
    });
  }

  /** Null takes a name away. */
  async setMetadata(caller: Caller, id: number, pairs: Readonly<Record<string, string | null>>): Promise<Aggregate> {
    return this.#change(caller, id, (trx, aggregate) => setMetadata(trx, aggregate, pairs));
  }

  /** Only without hosts. */
  async remove(caller: Caller, id: number): Promise<void> {
    await this.#change(caller, id, async (_trx, { hosts }) => {
      if (hosts.length > 0) throw new AppError("bad_request", `Cannot remove aggregate ${id}. Reason: Host aggregate is not empty.`);
    });
    await removeAggregate(this.#context.db, id);
  }

  async addHost(caller: Caller, id: number, host: string): Promise<Aggregate> {
    if (!(await this.#hosts.findByName(caller, host))) throw new AppError("not_found", `Compute host ${host} could not be found.`);
    return this.#change(caller, id, async (trx, aggregate) => {
      if (aggregate.hosts.includes(host)) throw new AppError("conflict", `Aggregate ${id} already has host ${host}.`);
      const zone = zoneOfAggregate(aggregate);
      if (zone !== null) refuseSecondZone(host, zone, await listAggregates(trx), `add host to aggregate ${id}`);
      await addAggregateHost(trx, id, host);
    });
  }

  async removeHost(caller: Caller, id: number, host: string): Promise<Aggregate> {
    return this.#change(caller, id, async (trx) => {
      if (!(await removeAggregateHost(trx, id, host))) throw new AppError("not_found", `Aggregate ${id} has no host ${host}.`);
    });
  }

  async #change(caller: Caller, id: number, change: (trx: Database, aggregate: Aggregate) => Promise<void>): Promise<Aggregate> {
    requireRole(caller, "admin", "change aggregates");
    const { db, clock } = this.#context;
    return db.transaction().execute(async (trx) => {
      await change(trx, await mustFind(trx, id));
      await updateAggregate(trx, id, { updated_at: clock.nowMs() });
      return mustFind(trx, id);
    });
  }
}

async function setMetadata(trx: Database, aggregate: Aggregate, pairs: Readonly<Record<string, string | null>>): Promise<void> {
  const zone = pairs[ZONE_KEY];
  const others = (await listAggregates(trx)).filter(({ id }) => id !== aggregate.id);
  if (typeof zone === "string") for (const host of aggregate.hosts) refuseSecondZone(host, zone, others, `update aggregate ${aggregate.id}`);
  for (const [name, value] of Object.entries(pairs)) {
    if (value === null) await aggregateMetadata.remove(trx, String(aggregate.id), name);
    else await aggregateMetadata.merge(trx, String(aggregate.id), { [name]: value });
  }
}

async function mustFind(db: Database, id: number): Promise<Aggregate> {
  const aggregate = await findAggregate(db, id);
  if (!aggregate) throw aggregateNotFound(id);
  return aggregate;
}

const nameTaken = (name: string): AppError => new AppError("conflict", `Aggregate ${name} already exists.`);

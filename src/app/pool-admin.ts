import { addedPools, type PoolOpener } from "#/app/open-pools.ts";
import { readAddedPool } from "#/config/added-pool.ts";
import { findOpenOperation } from "#/db/operations.ts";
import { countComingTo, findPoolRow, holdersIn, listPoolRows, removePoolRow, savePool } from "#/db/pools.ts";
import type { Database } from "#/db/database.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { OperationId } from "#/domain/ids.ts";
import { Semaphore } from "#/lib/semaphore.ts";
import { dedupPool } from "#/saga/dedup-pool.ts";
import { emptyCache } from "#/saga/empty-cache.ts";
import { releasePlace } from "#/storage/open-pool.ts";
import type { Pool } from "#/storage/pool.ts";
import type { AppContext } from "./context.ts";

/** Pools that come, go and are drained while Mica runs. For administrators. What they do outlives a restart. */
export class PoolAdmin {
  readonly #context: AppContext;
  readonly #open: PoolOpener;
  /** One change at a time: each looks at all pools first. */
  readonly #turn = new Semaphore(1);

  constructor(context: AppContext, open: PoolOpener) {
    this.#context = context;
    this.#open = open;
  }

  /**
   * Adds a pool, written as in the configuration. Errors: `bad_request` with all that is wrong with it; `conflict` where its name or folder is taken; `pool_unavailable` where it cannot be
   * opened: whoever adds it is there to see why.
   */
  async add(caller: Caller, written: unknown): Promise<Pool> {
    requireRole(caller, "admin", "add pools");
    using _ = await this.#turn.take();
    const { db, clock, config, pools, log } = this.#context;
    const existing = [...config.pools, ...addedPools(await listPoolRows(db), config.pools)];
    const added = readAddedPool(written, config, existing);
    const pool = await this.#open(added);
    if (pool.down) {
      await pool[Symbol.asyncDispose]();
      throw new AppError("pool_unavailable", `Pool "${added.name}" cannot be opened, and was not added: ${pool.down.reason}.`);
    }
    await savePool(db, added.name, { config: JSON.stringify(added), drained: 0, space: null }, clock.nowMs());
    pools.add(pool);
    log.info({ pool: added.name, driver: added.driver, user: caller.userId }, "pool added");
    return pool;
  }

  /** A drained pool takes no new disks; those that it has go on. Its cached images go, since nobody would clone them again. */
  async setDrained(caller: Caller, name: string, drained: boolean): Promise<Pool> {
    requireRole(caller, "admin", drained ? "drain pools" : "end the draining of pools");
    using _ = await this.#turn.take();
    const { db, clock, runner, log } = this.#context;
    const pool = this.#find(name);
    const meta = { projectId: null, userId: caller.userId, requestId: caller.requestId, subject: { kind: "pool", id: name } };
    const emptying = await db.transaction().execute(async (trx) => {
      await savePool(trx, name, { drained: Number(drained) }, clock.nowMs());
      return drained && !pool.drained ? await runner.begin(trx, emptyCache, { pool: name }, meta) : undefined;
    });
    pool.drained = drained;
    log.info({ pool: name, drained, user: caller.userId }, "pool drained or not");
    if (emptying) void runner.run(emptying);
    return pool;
  }

  /** Forgets a pool that was added and holds nothing. Its place stays as it is. Errors: `conflict` with what is in the way. */
  async remove(caller: Caller, name: string): Promise<void> {
    requireRole(caller, "admin", "remove pools");
    using _ = await this.#turn.take();
    const { db, pools, log } = this.#context;
    const pool = this.#find(name);
    const config = await db.transaction().execute(async (trx) => {
      const row = await findPoolRow(trx, name);
      if (!row?.config) throw new AppError("conflict", `Pool "${name}" is in the configuration: take it out there, and restart Mica.`);
      await refuseInUse(trx, pool);
      await removePoolRow(trx, name);
      return JSON.parse(row.config);
    });
    pools.remove(pool.name);
    await pool[Symbol.asyncDispose]();
    await releasePlace(config).catch((err: unknown) => log.warn({ err, pool: name }, "the place of a removed pool still says whose it was"));
    log.info({ pool: name, user: caller.userId }, "pool removed");
  }

  /** Begins to share what the pool's disks hold alike; the answer is the operation. Errors: `not_supported`; `conflict` where one is at work. */
  async dedup(caller: Caller, name: string): Promise<OperationId> {
    requireRole(caller, "admin", "share what disks hold alike");
    const { db, runner } = this.#context;
    const pool = this.#find(name);
    if (pool.down) throw new AppError("pool_unavailable", `Pool "${name}" is down: ${pool.down.reason}.`);
    if (!pool.can.dedup) throw new AppError("not_supported", `Pool "${name}" cannot share what its disks hold alike: ${pool.can.why.dedup ?? `its driver, ${pool.kind}, has no way to do it`}.`);
    const meta = { projectId: null, userId: caller.userId, requestId: caller.requestId, subject: { kind: "pool", id: name } };
    const id = await db.transaction().execute(async (trx) => {
      const open = await findOpenOperation(trx, { saga: dedupPool.name, subjectId: name });
      if (open) throw new AppError("conflict", `Pool "${name}" is being deduplicated already: see operation ${open.id}.`);
      return runner.begin(trx, dedupPool, { pool: name }, meta);
    });
    void runner.run(id);
    return id;
  }

  #find(name: string): Pool {
    const pool = this.#context.pools.find(name);
    if (!pool) throw new AppError("not_found", `There is no pool "${name}".`);
    return pool;
  }
}

async function refuseInUse(trx: Database, pool: Pool): Promise<void> {
  const holders = await holdersIn(trx, pool.name);
  const coming = await countComingTo(trx, pool.name);
  if (holders.length === 0 && coming === 0) return;
  const words = [...holders.map(({ kind, count }) => `${count} of ${KINDS[kind]}`), ...(coming > 0 ? [`${coming} of volumes that are being made`] : [])];
  const count = holders.reduce((sum, holder) => sum + holder.count, coming);
  const next = pool.drained ? "Delete what they belong to, or move it away" : `Drain it first (mica pool drain ${pool.name}), and delete what they belong to`;
  throw new AppError("conflict", `Pool "${pool.name}" holds ${count} disk${count === 1 ? "" : "s"}: ${words.join(", ")}. ${next}, then remove it.`);
}

const KINDS = { image: "images", volume: "volumes", snapshot: "snapshots", server: "servers", cache: "its cache", base: "what next images of servers are made by", ancestor: "deleted records that others read through" } as const;

import { roomOf } from "#/app/pool-facts.ts";
import { countDisksIn, findPoolRow } from "#/db/pools.ts";
import type { PoolTable } from "#/db/tables.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { Room } from "#/planner/pool-facts.ts";
import type { Capabilities, SharedSpace } from "#/storage/driver.ts";
import type { Pool, PoolLimits } from "#/storage/pool.ts";
import type { AppContext } from "./context.ts";

/** A pool as it stands now; sizes in bytes, times in ms since 1970. */
export interface PoolState {
  readonly name: string;
  readonly driver: string;
  readonly roles: readonly string[];
  readonly state: "up" | "down";
  /** Why it is down, and since when, where that is known. */
  readonly reason?: string;
  readonly downSinceMs?: number;
  /** It takes no new disks. */
  readonly drained: boolean;
  /** It was added while Mica ran, and is not in the configuration. */
  readonly added: boolean;
  readonly capacity?: Room;
  readonly can: Capabilities;
  readonly limits: PoolLimits;
  readonly disks: { readonly count: number };
  readonly cache: { readonly entries: number; readonly sizeBytes: number; readonly hits: number };
  /** What its disks share, as it was last measured; absent where it never was. */
  readonly space?: MeasuredSpace;
}

export interface MeasuredSpace extends SharedSpace {
  readonly measuredAtMs: number;
}

export class PoolStates {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async list(caller: Caller): Promise<PoolState[]> {
    requireRole(caller, "reader", "see pools");
    return Promise.all([...this.#context.pools].map((pool) => this.state(pool)));
  }

  /** 404 where there is no such pool. */
  async get(caller: Caller, name: string): Promise<PoolState> {
    requireRole(caller, "reader", "see pools");
    const pool = this.#context.pools.find(name);
    if (!pool) throw new AppError("not_found", `There is no pool "${name}".`);
    return this.state(pool);
  }

  async state(pool: Pool): Promise<PoolState> {
    const { db } = this.#context;
    const { name, kind, roles, limits, drained } = pool;
    const known = { name, driver: kind, roles, limits, drained, ...onRecord(await findPoolRow(db, name)), ...(await this.#counts(name)) };
    try {
      const capacity = await roomOf(db, pool);
      return { ...known, can: pool.can, state: "up", capacity };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const { reason = error.message, sinceMs } = pool.down ?? {};
      return { ...known, can: pool.can, state: "down", reason, ...(sinceMs !== undefined && { downSinceMs: sinceMs }) };
    }
  }

  async #counts(pool: string): Promise<Pick<PoolState, "disks" | "cache">> {
    const { db } = this.#context;
    const cache = await db
      .selectFrom("cache_entry")
      .select((eb) => [eb.fn.countAll<number>().as("entries"), eb.fn.sum<number | null>("size_bytes").as("sizeBytes"), eb.fn.sum<number | null>("hits").as("hits")])
      .where("pool", "=", pool)
      .executeTakeFirstOrThrow();
    const disks = { count: await countDisksIn(db, pool) };
    return { disks, cache: { entries: cache.entries, sizeBytes: cache.sizeBytes ?? 0, hits: cache.hits ?? 0 } };
  }
}

function onRecord(row: PoolTable | undefined): Pick<PoolState, "added" | "space"> {
  const added = row !== undefined && row.config !== null;
  return row?.space ? { added, space: JSON.parse(row.space) } : { added };
}

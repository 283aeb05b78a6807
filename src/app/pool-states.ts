import { poolUsage } from "#/db/disks.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { Capabilities } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";
import type { AppContext } from "./context.ts";

/** A pool as it stands now; sizes in bytes. */
export interface PoolState {
  readonly name: string;
  readonly driver: string;
  readonly roles: readonly string[];
  readonly state: "up" | "down";
  /** Why it is down. */
  readonly reason?: string;
  readonly capacity?: PoolCapacity;
  readonly can: Capabilities;
  readonly disks: { readonly count: number };
  readonly cache: { readonly entries: number; readonly sizeBytes: number; readonly hits: number };
}

export interface PoolCapacity {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What disks promise in all: their virtual sizes. */
  readonly provisionedBytes: number;
  /** Promised to operations that are filling disks now. */
  readonly reservedBytes: number;
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

  async state(pool: Pool): Promise<PoolState> {
    const { name, kind, roles, can } = pool;
    const known = { name, driver: kind, roles, can, ...(await this.#counts(name)) };
    try {
      const capacity = { ...(await pool.capacity()), ...(await poolUsage(this.#context.db, name)) };
      return { ...known, state: "up", capacity };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return { ...known, state: "down", reason: error.message };
    }
  }

  async #counts(pool: string): Promise<Pick<PoolState, "disks" | "cache">> {
    const { db } = this.#context;
    const disks = await db.selectFrom("disk").select((eb) => eb.fn.countAll<number>().as("count")).where("pool", "=", pool).executeTakeFirstOrThrow();
    const cache = await db
      .selectFrom("cache_entry")
      .select((eb) => [eb.fn.countAll<number>().as("entries"), eb.fn.sum<number | null>("size_bytes").as("sizeBytes"), eb.fn.sum<number | null>("hits").as("hits")])
      .where("pool", "=", pool)
      .executeTakeFirstOrThrow();
    return { disks, cache: { entries: cache.entries, sizeBytes: cache.sizeBytes ?? 0, hits: cache.hits ?? 0 } };
  }
}

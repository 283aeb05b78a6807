import { AppError } from "#/domain/errors.ts";
import type { PoolName } from "#/domain/ids.ts";
import type { Pool, PoolRole } from "./pool.ts";

/** The configured pools, by name, in the operator's order: where several would do, the first one is taken. */
export class Pools {
  readonly #pools: ReadonlyMap<PoolName, Pool>;

  constructor(pools: readonly Pool[]) {
    this.#pools = new Map(pools.map((pool) => [pool.name, pool]));
  }

  get(name: PoolName): Pool {
    const pool = this.#pools.get(name);
    if (!pool) throw new AppError("pool_unavailable", `Pool "${name}" is not configured, but records name it.`);
    return pool;
  }

  find(name: string): Pool | undefined {
    return this.#pools.get(name as PoolName);
  }

  withRole(role: PoolRole): Pool[] {
    return [...this.#pools.values()].filter(({ roles }) => roles.includes(role));
  }

  [Symbol.iterator](): IterableIterator<Pool> {
    return this.#pools.values();
  }
}

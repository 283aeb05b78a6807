import { AppError } from "#/domain/errors.ts";
import type { PoolName } from "#/domain/ids.ts";
import type { Pool, PoolRole } from "./pool.ts";

/** The pools, by name, in the operator's order: where several would do, the first one is taken. They come and go while Mica runs. */
export class Pools implements AsyncDisposable {
  readonly #pools: Map<PoolName, Pool>;

  constructor(pools: readonly Pool[]) {
    this.#pools = new Map(pools.map((pool) => [pool.name, pool]));
  }

  get(name: PoolName): Pool {
    const pool = this.#pools.get(name);
    if (!pool) throw new AppError("pool_unavailable", `Pool "${name}" is not configured, but records name it.`);
    return pool;
  }

  /** For requests that could only begin, and then wait for the pool. Errors: `pool_unavailable`. */
  refuseWhileDown(name: string): void {
    const down = this.get(name as PoolName).down;
    if (down) throw new AppError("pool_unavailable", `Pool "${name}" is down: ${down.reason}.`);
  }

  find(name: string): Pool | undefined {
    return this.#pools.get(name as PoolName);
  }

  /** Also those that are down or drained. */
  withRole(role: PoolRole): Pool[] {
    return [...this.#pools.values()].filter(({ roles }) => roles.includes(role));
  }

  /** Those that take new disks now. Errors: `pool_unavailable`, with the reason of each that does not. */
  takingNew(role: PoolRole): Pool[] {
    const pools = this.withRole(role);
    if (pools.length === 0) throw new AppError("pool_unavailable", `No pool has the role "${role}".`);
    const open = pools.filter(({ closed }) => closed === undefined);
    if (open.length > 0) return open;
    throw new AppError("pool_unavailable", `No pool with the role "${role}" takes new disks: ${pools.map(({ closed }) => closed).join("; ")}.`);
  }

  /** The last in the order. */
  add(pool: Pool): void {
    if (this.#pools.has(pool.name)) throw new Error(`Broken invariant: there is a pool "${pool.name}" already`);
    this.#pools.set(pool.name, pool);
  }

  /** Forgets the pool; whoever removes it closes it. */
  remove(name: PoolName): void {
    this.#pools.delete(name);
  }

  [Symbol.iterator](): IterableIterator<Pool> {
    return this.#pools.values();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool[Symbol.asyncDispose]()));
  }
}

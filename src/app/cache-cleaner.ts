import { randomUUID } from "node:crypto";
import { AppError } from "#/domain/errors.ts";
import type { OperationId } from "#/domain/ids.ts";
import { cleanCache, needsCleaning } from "#/saga/clean-cache.ts";
import type { Pool } from "#/storage/pool.ts";
import type { AppContext } from "./context.ts";

/** Looks at the pools now and then, and has the cache of one that is nearly full cleaned: an operation, as all that changes bytes. */
export class CacheCleaner implements Disposable {
  readonly #context: AppContext;
  readonly #timer: NodeJS.Timeout;
  readonly #underWay = new Set<string>();

  constructor(context: AppContext) {
    this.#context = context;
    this.#timer = setInterval(() => void this.clean(), context.config.cacheCleanIntervalMs).unref();
  }

  /** Begins what is needed now, one cleaning per pool at a time, and answers when it has ended. */
  async clean(): Promise<void> {
    const pools = [...this.#context.pools].filter(({ name, roles }) => roles.includes("cache") && !this.#underWay.has(name));
    await Promise.all(pools.map((pool) => this.#cleanPool(pool)));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #cleanPool(pool: Pool): Promise<void> {
    this.#underWay.add(pool.name);
    try {
      if (await needsCleaning(this.#context, pool)) await this.#context.runner.run(await this.#begin(pool));
    } catch (error) {
      // A pool that is down is looked at again next time.
      if (!(error instanceof AppError)) this.#context.log.error({ pool: pool.name, err: error }, "cannot clean the cache");
    } finally {
      this.#underWay.delete(pool.name);
    }
  }

  #begin({ name }: Pool): Promise<OperationId> {
    const { db, runner } = this.#context;
    const meta = { projectId: null, userId: null, requestId: `req-${randomUUID()}`, subject: { kind: "pool", id: name } };
    return db.transaction().execute((trx) => runner.begin(trx, cleanCache, { pool: name }, meta));
  }
}

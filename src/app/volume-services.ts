import type { AppContext } from "#/app/context.ts";
import { poolFacts } from "#/app/pool-facts.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { Value } from "#/lib/expression.ts";
import { capabilitiesOf, type PoolFacts } from "#/planner/pool-facts.ts";
import type { Pool } from "#/storage/pool.ts";

/** A pool that volumes can be made in, as Cinder's schedulers see it. */
export interface VolumePool extends PoolFacts {
  readonly drained: boolean;
  readonly isUp: boolean;
  /** What extra specs and functions of pools may ask for. */
  readonly capabilities: Readonly<Record<string, Value>>;
}

/** The pools for volumes, as operators of Block Storage look at them. */
export class VolumeServices {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  /** Every pool for volumes, in the operator's order, as it stands now. */
  async pools(caller: Caller): Promise<VolumePool[]> {
    requireRole(caller, "admin", "see the pools and services");
    return Promise.all(this.#context.pools.withRole("volumes").map((pool) => this.#state(pool)));
  }

  /** The pool of that name; 404 where none for volumes has it. */
  async pool(caller: Caller, name: string): Promise<VolumePool> {
    requireRole(caller, "admin", "see the capabilities of pools");
    const pool = this.#context.pools.withRole("volumes").find((candidate) => candidate.name === name);
    if (!pool) throw new AppError("not_found", `There is no pool "${name}" for volumes.`);
    return this.#state(pool);
  }

  async #state(pool: Pool): Promise<VolumePool> {
    const facts = await poolFacts(this.#context.db, pool, ["total_volumes"]);
    return { ...facts, drained: pool.drained, isUp: facts.room !== undefined, capabilities: capabilitiesOf(facts) };
  }
}

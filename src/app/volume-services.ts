import type { AppContext } from "#/app/context.ts";
import { type PoolState, PoolStates } from "#/app/pool-states.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { Pool } from "#/storage/pool.ts";

/** A pool that volumes can be made in, with the limits it is filled by. */
export interface VolumePool extends PoolState {
  readonly limits: Pool["limits"];
}

/** The pools for volumes, as operators of Block Storage look at them. */
export class VolumeServices {
  readonly #context: AppContext;
  readonly #states: PoolStates;

  constructor(context: AppContext) {
    this.#context = context;
    this.#states = new PoolStates(context);
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
    return { ...(await this.#states.state(pool)), limits: pool.limits };
  }
}

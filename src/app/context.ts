import type { Config } from "#/config/schema.ts";
import type { Database } from "#/db/database.ts";
import type { Clock } from "#/lib/clock.ts";
import type { Log } from "#/lib/log.ts";
import type { SagaRunner } from "#/saga/runner.ts";
import type { Pools } from "#/storage/pools.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";

/** What every use case may use; built once in main.ts. */
export interface AppContext {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: Config;
  readonly pools: Pools;
  readonly runner: SagaRunner;
  readonly hypervisor: HypervisorDriver;
}

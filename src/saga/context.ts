import type { Database } from "#/db/database.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import type { Log } from "#/lib/log.ts";
import type { SagaRunner } from "#/saga/runner.ts";
import type { Pools } from "#/storage/pools.ts";

/** What every saga may use. */
export interface SagaServices {
  readonly db: Database;
  readonly pools: Pools;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a saga's steps are given. `params` came through the journal: plain JSON. */
export interface SagaContext<P extends object> extends SagaServices {
  readonly params: P;
  readonly operationId: OperationId;
  readonly requestId: string;
  /** Adds to the facts that are kept beside the plan's estimate. */
  report(facts: Actual): Promise<void>;
  /** For sagas that start others: background flattening, a shared cache fill. */
  readonly runner: SagaRunner;
}

/** What really happened, in the terms of a plan's estimate; bytes. */
export interface Actual {
  bytesRead?: number;
  bytesWritten?: number;
  bytesThroughUs?: number;
  bytesTemporary?: number;
  /** Ways that the plan had chosen and that broke, with the reason; the next way was taken. */
  fellBack?: { readonly strategy: string; readonly because: string }[];
  strategy?: string;
}

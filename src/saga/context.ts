import type { Database } from "#/db/database.ts";
import type { OperationTable } from "#/db/tables.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import type { GroupedSlots } from "#/lib/keyed-slots.ts";
import type { KeyedLocks } from "#/lib/keyed-locks.ts";
import type { Log } from "#/lib/log.ts";
import type { ConsistencyLevel } from "#/domain/capture.ts";
import type { CaptureMethod, Plan } from "#/planner/plan.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import type { Pools } from "#/storage/pools.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";

/** What every saga may use. */
export interface SagaServices {
  readonly db: Database;
  readonly pools: Pools;
  readonly clock: Clock;
  readonly log: Log;
  /** One at a time works on a disk that others may be reading: snapshot, resize, flatten, release. */
  readonly locks: KeyedLocks;
  readonly limits: SagaLimits;
  /** Runs the servers' guests. */
  readonly hypervisor: HypervisorDriver;
  /** How many servers are captured at once, by their operations. */
  readonly captureSlots: GroupedSlots;
}

export interface SagaLimits {
  /** For what cannot be read in place; see the configuration. */
  readonly staging: { readonly dir: string; readonly sizeBytesMax: number };
  readonly servers: ServerLimits;
  readonly hypervisor: { readonly shutdownGraceMs: number };
}

/** See the configuration's `servers`. */
export interface ServerLimits {
  readonly dir: string;
  readonly volumeWaitMsMax: number;
  readonly keepVolumesOfFailed: boolean;
  readonly preallocateImages: "none" | "space";
  /** Whether file systems in overlays and devices are grown with their disks too. */
  readonly resizeFsUsingBlockDevice: boolean;
  /** `user`, or a kind and a name: `bridge:br0`. */
  readonly network: string;
  readonly maxConcurrentSnapshots: number;
  readonly freezeMsMax: number;
  readonly mirrorStallMsMax: number;
}

/** What a saga's steps are given. `params` came through the journal: plain JSON. */
export interface SagaContext<P extends object> extends SagaServices {
  readonly params: P;
  /** The plan that the operation was begun with. */
  readonly plan: Plan | undefined;
  readonly operationId: OperationId;
  readonly requestId: string;
  /** The facts so far, also of an earlier process that began the operation. */
  readonly actual: Readonly<Actual>;
  /** Adds to the facts that are kept beside the plan's estimate. */
  report(facts: Actual): Promise<void>;
  /** For sagas that start others: background flattening, a shared cache fill. */
  readonly runner: OperationRunner;
}

/** Begins sagas, runs them as operations, and follows those that run: `SagaRunner`. */
export interface OperationRunner {
  begin<P extends object>(trx: Database, saga: Saga<SagaContext<P>>, params: P, meta: OperationMeta): Promise<OperationId>;
  run(id: OperationId, extras?: object): Promise<OperationTable>;
  cancel(id: OperationId): Promise<void>;
  live(id: string): { readonly step: string; readonly fraction: number } | undefined;
  watch(id: string, changed: () => void): () => void;
}

/** What an operation is about, for its user. */
export interface OperationMeta {
  readonly projectId: string | null;
  readonly userId: string | null;
  readonly requestId: string | null;
  readonly subject: { readonly kind: string; readonly id: string };
  readonly plan?: object | undefined;
}

/** What really happened, in the terms of a plan's estimate; bytes. */
export interface Actual {
  bytesRead?: number;
  bytesWritten?: number;
  bytesThroughUs?: number;
  bytesTemporary?: number;
  /** Kept once from now on, and taken twice before. */
  bytesShared?: number;
  /** Ways that the plan had chosen and that broke, with the reason; the next way was taken. */
  fellBack?: { readonly strategy: string; readonly because: string }[];
  strategy?: string;
  /** What compressed the bytes. */
  engine?: string;
  capture?: Captured;
}

/** How disks of a server were read at one instant. */
export interface Captured {
  /** The method of each disk, by the guest's name for it. */
  readonly methods: Readonly<Record<string, CaptureMethod>>;
  readonly level?: ConsistencyLevel;
  /** Why it is no better. */
  readonly because?: string;
  /** How long the guest's file systems were frozen at most, and how long it stood still. */
  readonly freezeMs?: number;
  readonly downtimeMs?: number;
  readonly atMs?: number;
  /** The guest's file systems are frozen for the capture, or were when the process ended: its agent had been told to. */
  readonly freezesGuest?: boolean;
  /** It stands still for the capture, or did when the process ended: its user has not paused it. */
  readonly stopsGuest?: boolean;
}

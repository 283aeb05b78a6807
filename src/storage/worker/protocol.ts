import type { Capabilities } from "#/storage/driver.ts";

/** Counted up where an older side could not understand a newer one. */
export const WORKER_PROTOCOL = 1;

/** What a worker says of itself at `GET /worker/v1`. */
export interface WorkerFacts {
  readonly protocol: number;
  /** Of Mica. */
  readonly version: string;
  /** Where it shows disks to QEMU. */
  readonly nbdPort: number;
  /** By name; `down` has the reason where the place cannot be reached. */
  readonly pools: Readonly<Record<string, { readonly driver: string; readonly can: Capabilities; readonly down?: string }>>;
}

import type { Microversions } from "#/api/microversion.ts";
import type { Compute } from "#/app/compute.ts";
import type { Clock } from "#/lib/clock.ts";
import type { Viewers } from "./viewer.ts";

/** Up to what Nova has in 2026.2. */
export const MICROVERSIONS: Microversions = { service: "compute", major: 2, min: 1, max: 104, legacyHeader: "X-OpenStack-Nova-API-Version" };

/** What the routes work with. */
export interface ComputeApi extends Compute {
  readonly viewers: Viewers;
  readonly clock: Clock;
  /** The longest page, and the one of a list without `limit`. */
  readonly limitMax: number;
}

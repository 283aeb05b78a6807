import type { Microversions } from "#/api/microversion.ts";
import type { BlockStorage } from "#/app/block-storage.ts";
import type { Clock } from "#/lib/clock.ts";
import type { Viewers } from "./viewer.ts";

/** Cinder 2024.2 has the same. */
export const MICROVERSIONS: Microversions = { service: "volume", major: 3, min: 0, max: 71 };

/** What the routes work with. */
export interface VolumeApi extends BlockStorage {
  readonly viewers: Viewers;
  readonly clock: Clock;
  readonly availabilityZone: string;
  /** The longest page, and the one of a list without `limit`. */
  readonly limitMax: number;
}

import { AppError } from "./errors.ts";

/** What a server is given of its host, and how: Nova's flavor. */
export interface Flavor {
  /** Chosen by whoever made it, else a UUID. */
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly vcpus: number;
  readonly ramMib: number;
  /** The root disk; 0: as large as the image. */
  readonly diskGib: number;
  readonly ephemeralGib: number;
  readonly swapMib: number;
  /** Of networks that Nova no longer has: kept and shown, without effect. */
  readonly rxtxFactor: number;
  readonly isPublic: boolean;
  /** Such as `hw:cpu_policy`. */
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Names of extra specs: letters, digits, and _ - : . and spaces, as Nova has it (flavors_extraspecs.py). */
export const FLAVOR_EXTRA_SPEC_NAME = "^[a-zA-Z0-9_.\\-: ]{1,255}$";

/** 404 in Nova's words (exception.FlavorNotFound): also for private flavors of others. */
export const flavorNotFound = (id: string): AppError => new AppError("not_found", `Flavor ${id} could not be found.`);

/** 404 in Nova's words (exception.FlavorExtraSpecsNotFound). */
export const flavorSpecNotFound = (id: string, name: string): AppError =>
  new AppError("not_found", `Flavor ${id} has no extra specs with key ${name}.`);

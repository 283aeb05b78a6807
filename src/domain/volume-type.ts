import { type Caller, isAdmin } from "./caller.ts";
import { AppError } from "./errors.ts";

/** The extra specs that users may see, since they say how a volume can be used; the rest is about the pools behind it. */
const USER_VISIBLE_EXTRA_SPECS: ReadonlySet<string> = new Set(["RESKEY:availability_zones", "multiattach", "replication_enabled"]);

/** cinder/api/extra_specs: since Xena only admins see what could tell of the storage. */
export function visibleExtraSpecs(specs: Readonly<Record<string, string>>, caller: Caller): Readonly<Record<string, string>> {
  if (isAdmin(caller)) return specs;
  return Object.fromEntries(Object.entries(specs).filter(([name]) => USER_VISIBLE_EXTRA_SPECS.has(name)));
}

/** Names of extra specs: letters, digits, and _ - : . as Cinder has it. */
export const EXTRA_SPEC_NAME = "^[a-zA-Z0-9_.\\-:\\s]{1,255}$";

export function refuseBadTypeName(name: string): void {
  if (name.trim() === "") throw new AppError("bad_request", "Volume type name can not be empty.");
}

/** 404 in Cinder's words (exception.VolumeTypeNotFound, VolumeTypeNotFoundByName). */
export const volumeTypeNotFound = (idOrName: string): AppError => new AppError("not_found", `Volume type ${idOrName} could not be found.`);

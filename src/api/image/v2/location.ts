import { Compile } from "typebox/compile";
import { validationMessage } from "#/api/validation.ts";
import type { NewLocation } from "#/app/image-locations.ts";
import { AppError } from "#/domain/errors.ts";
import { expectedHash } from "#/domain/image-location.ts";
import { LocationValue } from "./schema.ts";

const validator = Compile(LocationValue);

/** A location as both interfaces take it: `{"url": …, "validation_data": {…}}`. Throws `bad_request`, `conflict`. */
export function parseLocation(value: unknown): NewLocation {
  if (!validator.Check(value)) throw new AppError("bad_request", validationMessage(validator.Errors(value), "location"));
  const { url, validation_data: data } = value;
  return { url, sha512: data && "os_hash_algo" in data ? expectedHash(data) : null };
}

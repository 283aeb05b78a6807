import type { KeyValuePairs } from "#/db/key-values.ts";
import { AppError } from "#/domain/errors.ts";

/** The pair that a request for one key sets: the body must have it, and nothing else. */
export function onePair(key: string, pairs: KeyValuePairs): KeyValuePairs {
  const value = pairs[key];
  if (value === undefined) throw new AppError("bad_request", "Request body and URI mismatch");
  if (Object.keys(pairs).length > 1) throw new AppError("bad_request", "Request body contains too many items");
  return { [key]: value };
}

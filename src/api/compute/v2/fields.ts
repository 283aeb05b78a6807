import Type, { type Static } from "typebox";
import { AppError } from "#/domain/errors.ts";

/** Pieces that the schemas of this API share; nova/api/validation/parameter_types.py. */

/** Nova has been strict about what it does not know since 2.1. */
export const strict = <T extends Parameters<typeof Type.Object>[0]>(fields: T) => Type.Object(fields, { additionalProperties: false });

/** Begins and ends with something to see, and has nothing that cannot be seen: XML has no place for control characters. nova/api/validation/parameter_types.py `name`. */
export const Name = Type.String({ minLength: 1, maxLength: 255, pattern: "^(?!\\p{Z})[^\\p{C}\\p{Zl}\\p{Zp}]+(?<!\\p{Z})$" });

/** Clients send flags as booleans or as words. */
export const Flag = Type.Union([
  Type.Boolean(),
  Type.String({ pattern: "^([tT]rue|TRUE|[oO]n|ON|[yY]es|YES|1|[fF]alse|FALSE|[oO]ff|OFF|[nN]o|NO|0)$" }),
]);
export type Flag = Static<typeof Flag>;

export function flag(value: Flag | undefined): boolean {
  return value === true || (typeof value === "string" && /^(true|on|yes|1)$/i.test(value));
}

/** A whole number, or its digits. */
export const count = (minimum: number) =>
  Type.Union([Type.Integer({ minimum, maximum: 2 ** 31 - 1 }), Type.String({ pattern: minimum > 0 ? "^0*[1-9][0-9]{0,8}$" : "^[0-9]{1,9}$" })]);

export const MetadataPairs = Type.Record(Type.String({ pattern: "^[a-zA-Z0-9\\-_:. ]{1,255}$" }), Type.String({ maxLength: 255 }), {
  additionalProperties: false,
});

export const Nothing = Type.Union([Type.Null(), Type.Object({}), Type.String()]);

export const IdParams = Type.Object({ id: Type.String() });
export const IdKeyParams = Type.Object({ id: Type.String(), key: Type.String() });

/** The id in a reference: clients of old send the whole address of an image or a flavor. */
export const idIn = (reference: string): string => reference.split("/").at(-1) ?? "";

/** The pair that a request for one key sets: the body must have it, and nothing else. */
export function onePair(key: string, pairs: Readonly<Record<string, string>>): Record<string, string> {
  const value = Object.hasOwn(pairs, key) ? pairs[key] : undefined;
  if (value === undefined) throw new AppError("bad_request", "Request body and URI mismatch");
  if (Object.keys(pairs).length > 1) throw new AppError("bad_request", "Request body contains too many items");
  return { [key]: value };
}

import Type, { type Static } from "typebox";

/** Pieces that the schemas of this API share; cinder/api/validation/parameter_types.py. */

/** Spaces around names don't count (`text()` takes them off). */
export const Name = Type.Union([Type.String({ maxLength: 255 }), Type.Null()]);
export const Description = Type.Union([Type.String({ maxLength: 255 }), Type.Null()]);

/** Clients send flags as booleans or as words. */
export const Flag = Type.Union([
  Type.Boolean(),
  Type.String({ pattern: "^([tT]rue|TRUE|[oO]n|ON|[yY]es|YES|1|[fF]alse|FALSE|[oO]ff|OFF|[nN]o|NO|0)$" }),
]);
export type Flag = Static<typeof Flag>;

/** GiB, as a number or as digits. */
export const SizeGib = Type.Union([Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }), Type.String({ pattern: "^0*[1-9][0-9]{0,8}$" })]);

export const OptionalId = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()]));

export const Pairs = Type.Record(Type.String({ pattern: "^[a-zA-Z0-9\\-_:. /]{1,255}$" }), Type.String({ maxLength: 255 }), {
  additionalProperties: false,
});

export const IdParams = Type.Object({ id: Type.String() });
export const IdKeyParams = Type.Object({ id: Type.String(), key: Type.String() });
export const MetadataBody = Type.Object({ metadata: Pairs }, { additionalProperties: false });
/** One pair, under its own name: `{"meta":{"colour":"red"}}`. */
export const MetaBody = Type.Object({ meta: Pairs }, { additionalProperties: false });

/** The text without the spaces around it; null stays null, and what is not there stays so. */
export function text<T extends string | null | undefined>(value: T): T {
  return (typeof value === "string" ? value.trim() : value) as T;
}

/** Clients send "" and null for what they don't name. */
export function named(value: string | null | undefined): string | undefined {
  return value === null || value === "" ? undefined : value;
}

/** The first of two names for the same thing that is there: `display_name` is what the first version of the API called `name`. */
export function either<T>(first: T | undefined, second: T | undefined): T | undefined {
  return first === undefined ? second : first;
}

export function flag(value: Flag | undefined): boolean {
  return value === true || (typeof value === "string" && /^(true|on|yes|1)$/i.test(value));
}

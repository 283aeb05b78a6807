import Type from "typebox";
import { parserOf } from "#/api/parse.ts";
import { FLAVOR_EXTRA_SPEC_NAME } from "#/domain/flavor.ts";
import { count, Flag, Name, strict } from "./fields.ts";

const Description = Type.Union([Type.String({ maxLength: 65_535 }), Type.Null()]);

const FIELDS_2_1 = {
  name: Name,
  id: Type.Optional(Type.Union([Type.String({ maxLength: 255, pattern: "^(?! )[a-zA-Z0-9. _-]*(?<! )$" }), Type.Integer(), Type.Null()])),
  ram: count(1),
  vcpus: count(1),
  disk: count(0),
  "OS-FLV-EXT-DATA:ephemeral": Type.Optional(count(0)),
  swap: Type.Optional(count(0)),
  rxtx_factor: Type.Optional(Type.Union([Type.Number({ exclusiveMinimum: 0 }), Type.String({ pattern: "^[0-9]+(\\.[0-9]+)?$" })])),
  "os-flavor-access:is_public": Type.Optional(Flag),
};
const { rxtx_factor: _, ...fieldsWithoutFactor } = FIELDS_2_1;
const FIELDS_2_55 = { ...FIELDS_2_1, description: Type.Optional(Description) };
const FIELDS_2_102 = { ...fieldsWithoutFactor, description: Type.Optional(Description) };

export type NewFlavorBody = ReturnType<typeof create_2_55>["flavor"];

/** The newer fields are refused before their microversion, and `rxtx_factor` from 2.102 on. */
export function parseCreateFlavor(minor: number, received: unknown): NewFlavorBody {
  if (minor >= 102) return create_2_102(received).flavor;
  return minor >= 55 ? create_2_55(received).flavor : create_2_1(received).flavor;
}

const create_2_1 = parserOf(strict({ flavor: strict(FIELDS_2_1) }));
const create_2_55 = parserOf(strict({ flavor: strict(FIELDS_2_55) }));
const create_2_102 = parserOf(strict({ flavor: strict(FIELDS_2_102) }));

export const DescribeFlavor = strict({ flavor: strict({ description: Description }) });

const Specs = Type.Record(Type.String({ pattern: FLAVOR_EXTRA_SPEC_NAME }), Type.Union([Type.String({ maxLength: 255 }), Type.Number(), Type.Boolean()]), {
  additionalProperties: false,
});
export const FlavorSpecsBody = strict({ extra_specs: Specs });
/** One spec under its own name. */
export const FlavorSpecBody = Specs;

/** The arguments of POST /flavors/{id}/action. */
export const TenantAccess = strict({ tenant: Type.String({ minLength: 1, maxLength: 255 }) });

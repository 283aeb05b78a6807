import Type from "typebox";
import { EXTRA_SPEC_NAME } from "#/domain/volume-type.ts";
import { Description, Flag } from "./fields.ts";

const strict = <T extends Parameters<typeof Type.Object>[0]>(fields: T) => Type.Object(fields, { additionalProperties: false });

const ExtraSpecs = Type.Record(Type.String({ pattern: EXTRA_SPEC_NAME }), Type.String({ maxLength: 255 }), { additionalProperties: false });
const TypeName = Type.String({ minLength: 1, maxLength: 255 });

export const CreateVolumeType = strict({
  volume_type: strict({
    name: TypeName,
    description: Type.Optional(Description),
    extra_specs: Type.Optional(Type.Union([ExtraSpecs, Type.Null()])),
    "os-volume-type-access:is_public": Type.Optional(Flag),
  }),
});

export const UpdateVolumeType = strict({
  volume_type: Type.Object(
    {
      name: Type.Optional(Type.Union([TypeName, Type.Null()])),
      description: Type.Optional(Description),
      is_public: Type.Optional(Type.Union([Flag, Type.Null()])),
    },
    { additionalProperties: false, minProperties: 1 },
  ),
});

export const ExtraSpecsBody = strict({
  extra_specs: Type.Record(Type.String({ pattern: EXTRA_SPEC_NAME }), Type.String({ maxLength: 255 }), {
    additionalProperties: false,
    minProperties: 1,
  }),
});
/** One spec under its own name. */
export const ExtraSpecBody = ExtraSpecs;

/** The arguments of POST /types/{id}/action. */
export const ProjectAccess = strict({ project: Type.String({ minLength: 1, maxLength: 255 }) });

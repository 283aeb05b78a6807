import Type, { type Static } from "typebox";
import { type Parse, parserOf } from "#/api/parse.ts";
import { Description, Flag, Name, OptionalId, Pairs, SizeGib } from "./fields.ts";

const FIELDS_3_0 = {
  size: Type.Optional(Type.Union([SizeGib, Type.Null()])),
  name: Type.Optional(Name),
  display_name: Type.Optional(Name),
  description: Type.Optional(Description),
  display_description: Type.Optional(Description),
  volume_type: OptionalId,
  availability_zone: OptionalId,
  metadata: Type.Optional(Type.Union([Pairs, Type.Null()])),
  imageRef: OptionalId,
  image_id: OptionalId,
  snapshot_id: OptionalId,
  source_volid: OptionalId,
  consistencygroup_id: OptionalId,
  multiattach: Type.Optional(Type.Union([Flag, Type.Null()])),
};
const FIELDS_3_13 = { ...FIELDS_3_0, group_id: OptionalId };
const FIELDS_3_47 = { ...FIELDS_3_13, backup_id: OptionalId };

/** The body of a create, in the newest form. Older microversions lack some fields, and before 3.53 unknown ones have no effect. */
export const CreateVolume = body(Type.Object(FIELDS_3_47, { additionalProperties: false }));
export type CreateVolume = Static<typeof CreateVolume>;

/** The newest fields are undefined where the microversion does not have them, whatever was sent under their names. */
export type NewVolumeBody = { readonly [Field in keyof CreateVolume["volume"]]: CreateVolume["volume"][Field] | undefined };

export function parseCreateVolume(minor: number, received: unknown): NewVolumeBody {
  if (minor >= 53) return create_3_53(received).volume;
  if (minor >= 47) return create_3_47(received).volume;
  if (minor >= 13) return { ...create_3_13(received).volume, backup_id: undefined };
  return { ...create_3_0(received).volume, backup_id: undefined, group_id: undefined };
}

const create_3_0 = parserOf(body(Type.Object(FIELDS_3_0)));
const create_3_13 = parserOf(body(Type.Object(FIELDS_3_13)));
const create_3_47 = parserOf(body(Type.Object(FIELDS_3_47)));
const create_3_53: Parse<typeof CreateVolume> = parserOf(CreateVolume);

export const UpdateVolume = Type.Object(
  {
    volume: Type.Object(
      {
        name: Type.Optional(Name),
        display_name: Type.Optional(Name),
        description: Type.Optional(Description),
        display_description: Type.Optional(Description),
        metadata: Type.Optional(Pairs),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

function body<T extends ReturnType<typeof Type.Object>>(volume: T) {
  const hints = Type.Optional(Type.Union([Type.Object({}), Type.Null()]));
  return Type.Object({ volume, "OS-SCH-HNT:scheduler_hints": hints }, { additionalProperties: false });
}

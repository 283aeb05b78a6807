import Type from "typebox";
import { SNAPSHOT_STATUSES } from "#/domain/snapshot.ts";
import { Description, Flag, Name, Pairs } from "./fields.ts";

const strict = <T extends Parameters<typeof Type.Object>[0]>(fields: T) => Type.Object(fields, { additionalProperties: false });

const NAMES = {
  name: Type.Optional(Name),
  display_name: Type.Optional(Name),
  description: Type.Optional(Description),
  display_description: Type.Optional(Description),
};

export const CreateSnapshot = strict({
  snapshot: strict({
    ...NAMES,
    volume_id: Type.String({ minLength: 1, maxLength: 255 }),
    force: Type.Optional(Type.Union([Flag, Type.Null()])),
    metadata: Type.Optional(Type.Union([Pairs, Type.Null()])),
  }),
});

export const UpdateSnapshot = strict({ snapshot: strict(NAMES) });

/** The arguments of POST /snapshots/{id}/action. */
export const ResetSnapshotStatus = strict({ status: Type.Enum([...SNAPSHOT_STATUSES]) });

import Type from "typebox";
import { CONTAINER_FORMATS, VISIBILITIES } from "#/domain/image.ts";
import { VOLUME_STATUSES } from "#/domain/volume.ts";
import { Flag, Pairs, SizeGib } from "./fields.ts";

const strict = <T extends Parameters<typeof Type.Object>[0]>(fields: T) => Type.Object(fields, { additionalProperties: false });

/** What each action takes, under its name in the body. */
export const Extend = strict({ new_size: SizeGib });
export const SetBootable = strict({ bootable: Flag });
export const UpdateReadonlyFlag = strict({ readonly: Flag });
export const SetImageMetadata = strict({ metadata: Pairs });
export const UnsetImageMetadata = strict({ key: Type.String({ minLength: 1, maxLength: 255 }) });
export const ResetStatus = Type.Object(
  {
    status: Type.Optional(Type.Enum([...VOLUME_STATUSES])),
    attach_status: Type.Optional(Type.Enum(["attached", "detached"])),
    migration_status: Type.Optional(
      Type.Union([Type.Enum(["migrating", "error", "success", "completing", "none", "starting"]), Type.Null()]),
    ),
  },
  { additionalProperties: false, minProperties: 1 },
);
export const Retype = strict({
  new_type: Type.String({ minLength: 1, maxLength: 255 }),
  migration_policy: Type.Optional(Type.Union([Type.Enum(["on-demand", "never"]), Type.Null()])),
});
/** Clients send null, {} or "". */
export const Nothing = Type.Union([Type.Object({}), Type.Null(), Type.String()]);

const UPLOAD_3_0 = {
  image_name: Type.String({ minLength: 1, maxLength: 255 }),
  force: Type.Optional(Flag),
  disk_format: Type.Optional(Type.Enum(["raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop"])),
  container_format: Type.Optional(Type.Union([Type.Enum([...CONTAINER_FORMATS]), Type.Null()])),
};
export const UploadImage3_0 = strict(UPLOAD_3_0);
export const UploadImage = strict({
  ...UPLOAD_3_0,
  visibility: Type.Optional(Type.Enum([...VISIBILITIES])),
  protected: Type.Optional(Flag),
});

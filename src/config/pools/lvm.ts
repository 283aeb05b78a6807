import Type from "typebox";
import { text } from "../option-types.ts";

/** What only `lvm` pools have. */
export const LVM_SCHEMA = Type.Object(
  {
    volumeGroup: text({ description: "The volume group, which must exist. Cinder's `volume_group`." }),
  },
  { additionalProperties: false },
);

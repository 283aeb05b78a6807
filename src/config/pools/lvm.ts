import Type from "typebox";
import { text, whole } from "../option-types.ts";

/** As LVM itself allows names (lvm(8), "VALID NAMES"). */
const NAME = { pattern: "^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}$", says: "letters, digits and + _ . -, not beginning with -" };

const percentMax = (fallback: number, description: string) => Type.Integer({ default: fallback, minimum: 1, maximum: 100, unit: "%", description });

/** What only `lvm` pools have. */
export const LVM_SCHEMA = Type.Object(
  {
    volumeGroup: text({ ...NAME, description: "The volume group, which must exist. Cinder's `volume_group`." }),
    type: Type.Enum(["auto", "thin", "thick"], {
      default: "auto",
      description:
        "`thin` can clone and snapshot. `auto` is thin where the thin pool is there, or the group is empty and gets one. Cinder's `lvm_type`, whose `default` is our `thick`.",
    }),
    thinPool: Type.Optional(
      text({ ...NAME, derived: "`<volumeGroup>-pool`", description: "The thin pool; made of 95 % of the group where it is missing at the first start. Named as Cinder does." }),
    ),
    thinDataPercentMax: percentMax(
      95,
      "New disks are refused beyond: in a full thin pool guests get I/O errors. The rest is for growth of the disks that are there.",
    ),
    thinMetadataPercentMax: percentMax(90, "As above, for the pool's metadata: once that is full, the pool is read-only and needs a repair."),
    volumeClear: Type.Enum(["zero", "none"], {
      default: "zero",
      description: "Whether deleted thick disks are overwritten. New ones are in any case, so that nobody reads what was there before. Cinder's `volume_clear`.",
    }),
    volumeClearSizeBytes: whole(0, 0, {
      unit: "bytes",
      zeroIsUnlimited: true,
      description: "Only so many bytes from the beginning are overwritten at a delete. Cinder's `volume_clear_size`, there in MiB.",
    }),
    confPath: Type.Optional(
      text({ path: true, pattern: "/lvm\\.conf$", says: "a path that ends in /lvm.conf", description: "An `lvm.conf` for Mica's calls, as for a device filter. Cinder's `lvm_conf_file`." }),
    ),
  },
  { additionalProperties: false },
);
export type LvmConfig = Type.Static<typeof LVM_SCHEMA>;

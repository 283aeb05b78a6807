import Type from "typebox";
import { SECOND_MS } from "#/lib/units.ts";
import { text } from "../option-types.ts";

/** What only `nfs` pools have; their `path` is a folder on a mounted export. */
export const NFS_SCHEMA = Type.Object(
  {
    shares: Type.Optional(
      Type.Array(text({ path: true, description: "A folder on a mounted export." }), {
        uniqueItems: true,
        description: "More folders beside `path`: a new disk goes where most room is, a clone stays where its source is. Cinder's `nfs_shares_config`.",
      }),
    ),
    metadataPath: Type.Optional(
      text({
        path: true,
        description:
          "The image store's file of share locations: images that it has on these exports are cloned where they lie. Glance's `filesystem_store_metadata_file`.",
      }),
    ),
    allowLocal: Type.Optional(
      Type.Boolean({
        derived: "false",
        description: "Takes folders that are not on NFS. An export that is not mounted then goes unnoticed until the pool has disks: for trials.",
      }),
    ),
    answerTimeoutMs: Type.Optional(
      Type.Integer({
        minimum: SECOND_MS,
        unit: "ms",
        derived: "10000",
        description: "A server that is silent for longer is away: longer than a server takes to fail over, the pool would only hang.",
      }),
    ),
  },
  { additionalProperties: false },
);
export type NfsSection = Type.Static<typeof NFS_SCHEMA>;

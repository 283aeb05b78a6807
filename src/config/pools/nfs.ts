import Type from "typebox";

/** What only `nfs` pools have; their `path` is the mount point. */
export const NFS_SCHEMA = Type.Object({}, { additionalProperties: false });

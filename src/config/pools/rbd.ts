import Type from "typebox";
import { KiB, MiB, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { text, whole } from "../option-types.ts";

/** Names that stand in image specifications as they are. */
const NAME = { pattern: "^[A-Za-z0-9_.-]+$", says: "letters, digits, dots, dashes and underscores" };

/** What only `rbd` pools have. */
export const RBD_SCHEMA = Type.Object(
  {
    confPath: text({ default: "/etc/ceph/ceph.conf", path: true, description: "Ceph's configuration. Cinder's and Glance's `rbd_ceph_conf`, `rbd_store_ceph_conf`." }),
    pool: text({ ...NAME, description: "The Ceph pool. Cinder's `rbd_pool`, Glance's `rbd_store_pool`." }),
    namespace: Type.Optional(text({ ...NAME, description: "A namespace of the Ceph pool, which must exist: images of others in the same Ceph pool stay out of sight." })),
    user: text({ ...NAME, default: "admin", description: "The Ceph user without `client.`; its keyring is found as ceph.conf says. Cinder's `rbd_user`." }),
    cloneFormat: Type.Integer({
      default: 2,
      minimum: 1,
      maximum: 2,
      description: "2 needs Ceph clients of version 13 (Mimic) or later. 1 is for older ones: snapshots must be protected, and namespaces cannot clone among each other.",
    }),
    flattenVolumeFromSnapshot: Type.Boolean({
      default: false,
      description: "Volumes from snapshots are made to stand alone in the background, so that they keep nothing of the snapshot's volume. Cinder's `rbd_flatten_volume_from_snapshot`.",
    }),
    objectSizeBytes: Type.Integer({
      default: 4 * MiB,
      minimum: 4 * KiB,
      maximum: 32 * MiB,
      unit: "bytes",
      description: "Of new images; a power of two. Ceph's own default. Cinder's `rbd_store_chunk_size`; Glance's is 8 MiB.",
    }),
    deferredDeletion: Type.Boolean({
      default: false,
      description: "Deleted disks go to Ceph's trash first, and their space comes back when that is purged. Cinder's `enable_deferred_deletion`.",
    }),
    deferredDeletionDelayMs: whole(0, 0, { unit: "ms", description: "How long they can be restored with `rbd trash restore`. Cinder's `deferred_deletion_delay`." }),
    deferredDeletionPurgeIntervalMs: whole(MINUTE_MS, SECOND_MS, { unit: "ms", description: "How often the trash is looked through. Cinder's `deferred_deletion_purge_interval`." }),
    opTimeoutMs: whole(30 * SECOND_MS, SECOND_MS, {
      unit: "ms",
      description:
        "For each answer of a monitor or OSD: Ceph itself waits for ever. Becomes `rados_osd_op_timeout`, `rados_mon_op_timeout` and `client_mount_timeout`, in QEMU's nodes too. Cinder's `rados_connect_timeout`.",
    }),
  },
  { additionalProperties: false },
);
export type RbdConfig = Type.Static<typeof RBD_SCHEMA>;

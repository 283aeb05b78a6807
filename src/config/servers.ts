import Type from "typebox";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { text, whole } from "./option-types.ts";

/** Kinds of server disks, by Nova's names: `[libvirt] images_type`. */
export const IMAGES_TYPES = ["default", "qcow2", "flat", "raw", "lvm", "rbd"] as const;
export type ImagesType = (typeof IMAGES_TYPES)[number];

/** Disk formats of images of servers: `source` is how the disk is kept, qcow2 where it is an overlay and raw elsewhere. */
const SNAPSHOT_FORMATS = ["source", "raw", "qcow2", "vmdk", "vdi"] as const;

export const SERVERS_SCHEMA = Type.Object({
  dir: text({
    path: true,
    derived: "`<dataDir>/servers`",
    description: "What a host keeps of its servers beside their disks: the console's log and the config drive. Nova's `instances_path`.",
  }),
  imagesType: Type.Enum([...IMAGES_TYPES], {
    default: "default",
    description:
      "Which pools with the role `servers` take local disks: qcow2 (clones) and flat or raw (whole copies) in folders, lvm, rbd; default is the first pool of any kind. Nova's `[libvirt] images_type`.",
  }),
  useCowImages: Type.Boolean({
    default: true,
    description: "Whether a disk may read through the cached image where clones are overlays; without it, disks stand alone. For imagesType default. Nova's `use_cow_images`.",
  }),
  preallocateImages: Type.Enum(["none", "space"], {
    default: "none",
    description: "Whether disks in folders take all their space at once, so that a guest never meets a full pool; fast, but clones then cost what copies do. Nova's `preallocate_images`.",
  }),
  resizeFsUsingBlockDevice: Type.Boolean({
    default: false,
    description:
      "Whether root file systems without partitions (ext2, ext3, ext4) are grown with their disks in overlays, LVM and Ceph too, and not in plain files only; needs FUSE (`/dev/fuse`) and to run as root. Nova's `resize_fs_using_block_device`.",
  }),
  localDevicesMax: whole(3, -1, { description: "Local disks of a server, −1 for no limit, 0: only volumes. Nova's `max_local_block_devices`." }),
  attachedDevicesMax: whole(-1, -1, { description: "All disks of a server, −1 for no limit. Nova's `max_disk_devices_to_attach`." }),
  volumeWaitMsMax: whole(6 * HOUR_MS, SECOND_MS, {
    unit: "ms",
    description:
      "How long a server waits for volumes that are made for it. Nova gives up after `block_device_allocate_retries` × `_interval` (3 minutes), whether the copy moves or not; here its progress is shown.",
  }),
  keepVolumesOfFailed: Type.Boolean({
    default: false,
    description: "Whether volumes that were made for a server stay when it cannot be made: no guest ever wrote to them. Nova leaves them unless `delete_on_termination` is set.",
  }),
  configDrive: Type.Boolean({
    default: true,
    description: "Whether a server whose user does not say has a config drive: there is no metadata service, so cloud-init finds keys and user data nowhere else. Nova's `force_config_drive`.",
  }),
  enableInstancePassword: Type.Boolean({
    default: true,
    description:
      "Whether who creates, rebuilds or rescues a server is answered the password (`adminPass`) that its config drive tells the guest, for cloudbase-init and the like to set. It is kept in the server's folder alone. Nova's `[api] enable_instance_password`.",
  }),
  network: text({
    default: "user",
    pattern: "^(user|(network|bridge):[A-Za-z0-9._-]{1,64})$",
    says: "user, network:NAME or bridge:NAME",
    description:
      "What the network card of servers is connected to (`networks: auto`): user is QEMU's own user-mode network, by which a guest reaches out and nobody reaches in; else a network of libvirt's, or a bridge of this host's, which gives out addresses by itself. For guests from their next start on.",
  }),
  snapshotImageFormat: Type.Enum([...SNAPSHOT_FORMATS], {
    default: "source",
    description:
      "The disk format of images of servers: source is as the disk is kept, qcow2 where it is an overlay on a cached image and raw elsewhere (always for LVM and RBD). Nova's `[libvirt] snapshot_image_format`.",
  }),
  snapshotCompression: Type.Boolean({ default: false, description: "Whether the clusters of qcow2 images of servers are compressed. Nova's `[libvirt] snapshot_compression`." }),
  maxConcurrentSnapshots: whole(5, 0, { description: "How many servers are made images of at once; the others wait. 0 is without a limit. Nova's `max_concurrent_snapshots`." }),
  incrementalImages: Type.Boolean({
    default: true,
    description:
      "Whether the second image of a server is made of what changed since the first: then only that is read. For raw images (`snapshotImageFormat`) in a pool that clones. The guest of an overlay remembers what it writes, which costs it little; on Ceph, XFS and btrfs the pool keeps the disk of the last image's instant, if that image lies elsewhere, and the space of what has changed since.",
  }),
  captureMethod: Type.Enum(["auto", "pool_snapshot", "backup_job", "live_mirror", "cold"], {
    default: "auto",
    description:
      "How the disk of a guest that runs is read: auto is the gentlest that its pool and QEMU allow; live_mirror is what Nova does, and cold what it does with `[workarounds] disable_libvirt_livesnapshot`.",
  }),
  freezeMsMax: whole(10 * SECOND_MS, SECOND_MS / 10, {
    unit: "ms",
    description: "How long a guest's file systems may be frozen, or its processors stand still, while its disks are captured. Then it goes on, and the capture is made in another way or fails.",
  }),
  mirrorStallMsMax: whole(10 * MINUTE_MS, SECOND_MS / 10, {
    unit: "ms",
    description:
      "How long the mirror of a disk may come no closer to it, by a hundredth of what is missing: its guest writes faster than it is copied. Then it is ended, and the capture is made in another way or fails. The first copy of 1 TiB needs 18 MiB/s for that. Nova waits for ever.",
  }),
  shelvedOffloadMs: whole(0, -1, {
    unit: "ms",
    description:
      "How long a shelved server stays on its host with its disk, beside its image: 0 leaves at once, −1 stays until it is told to leave (`shelveOffload`). Servers that boot from volumes always leave at once. Nova's `shelved_offload_time`.",
  }),
  nonInheritableImageProperties: Type.Array(Type.String({ minLength: 1 }), {
    default: ["cache_in_nova", "bittorrent"],
    description: "Properties of a server's image that images of the server do not get. Nova's `non_inheritable_image_properties`.",
  }),
});

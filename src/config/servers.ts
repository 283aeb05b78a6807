import Type from "typebox";
import { HOUR_MS, SECOND_MS } from "#/lib/units.ts";
import { text, whole } from "./option-types.ts";

/** Kinds of server disks, by Nova's names: `[libvirt] images_type`. */
export const IMAGES_TYPES = ["default", "qcow2", "flat", "raw", "lvm", "rbd"] as const;
export type ImagesType = (typeof IMAGES_TYPES)[number];

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
});

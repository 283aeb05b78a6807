import { GiB, MiB } from "#/lib/units.ts";
import { AppError } from "./errors.ts";
import type { Image } from "./image.ts";
import { isOn } from "./server.ts";

/** Of a server, what an image of it says. */
export interface CapturedServer {
  readonly id: string;
  readonly projectId: string;
  /** Of who asked for the image. */
  readonly userId: string;
  /** Of the image that it was made of, which may be gone. */
  readonly imageId: string | null;
  /** The properties of what it boots from. */
  readonly properties: Readonly<Record<string, string>>;
  readonly rootSizeBytes: number;
  /** Of the host: `x86_64`. */
  readonly architecture: string;
}

/** Properties that say something of the image itself, and not of what is in it: nova/compute/utils.py, `create_image`, and `NON_INHERITABLE_IMAGE_PROPERTIES`. */
const OF_THE_IMAGE = /^(cinder_encryption_|img_signature|os_glance_|os_hash_|mica_)|^(bdm_v2|block_device_mapping|root_device_name|base_image_ref|image_type|image_state|image_location|instance_uuid|owner_id|user_id|backup_type|clean_attempts)$/;

/** The properties of an image of a server: what it inherits, then what it is. nova/compute/utils.py `create_image`, nova/virt/libvirt/driver.py `_create_snapshot_metadata`. */
export function snapshotProperties(server: CapturedServer, notInherited: readonly string[]): Record<string, string> {
  const inherited = Object.entries(server.properties).filter(([name]) => !OF_THE_IMAGE.test(name) && !notInherited.includes(name));
  return {
    architecture: server.architecture,
    ...Object.fromEntries(inherited),
    ...(server.imageId !== null && { base_image_ref: server.imageId }),
    image_type: "snapshot",
    image_location: "snapshot",
    image_state: "available",
    instance_uuid: server.id,
    owner_id: server.projectId,
    user_id: server.userId,
  };
}

/** What an image of a server takes over of the image that the server was made of, which may be deleted by then. Nova keeps it in the instance's system metadata (`image_min_ram` and its neighbours). */
export type ImageForm = Pick<Image, "diskFormat" | "containerFormat" | "minDiskGib" | "minRamMib">;

export function imageFormOf({ diskFormat, containerFormat, minDiskGib, minRamMib }: ImageForm): ImageForm {
  return { diskFormat, containerFormat, minDiskGib, minRamMib };
}

/** The smallest disk, in GiB, that a server of the image can have. */
export function minDiskGibOf({ rootSizeBytes }: CapturedServer, base: Pick<Image, "minDiskGib"> | undefined): number {
  return Math.max(base?.minDiskGib ?? 0, Math.ceil(rootSizeBytes / GiB));
}

/** Whether the guest's file systems are to be frozen, and whether nothing is to be done without. */
export function quiesceWishes(properties: Readonly<Record<string, string>>): { readonly hasAgent: boolean; readonly requiresQuiesce: boolean } {
  return { hasAgent: isOn(properties["hw_qemu_guest_agent"]), requiresQuiesce: isOn(properties["os_require_quiesce"]) };
}

/** Why nothing of the guest can be frozen, as far as that is known without its agent. Undefined where there is one to ask, or nothing to freeze. */
export function whyNoFreeze(guest: Parameters<typeof whyBeyondQuiesce>[0], { hasAgent }: { readonly hasAgent: boolean }): string | undefined {
  if (guest !== "running") return whyBeyondQuiesce(guest);
  return hasAgent ? undefined : "QEMU guest agent is not enabled: the image's hw_qemu_guest_agent does not say yes";
}

/** 409 in Nova's words (exception.InstanceQuiesceFailed). */
export const notFrozen = (reason: string): AppError => new AppError("conflict", `Failed to quiesce instance: ${reason}`);

/** Why nothing can be frozen of a guest that stands still with files open. Undefined where it runs, or is off: then there is an agent to ask, or nothing to freeze. */
export function whyBeyondQuiesce(guest: "running" | "paused" | "suspended" | "off"): string | undefined {
  if (guest === "running" || guest === "off") return undefined;
  return `the guest is ${guest}: its agent cannot freeze its file systems before it runs again`;
}

/** As much of a disk of a server as an image's mapping tells of it. */
export interface MappedDevice {
  readonly target: string;
  readonly boot_index: number | null;
  readonly size_bytes: number;
  readonly bus: string;
  readonly kind: string;
  readonly guest_format: string | null;
  readonly tag: string | null;
  readonly delete_on_termination: number;
  /** Undefined: it begins blank. */
  readonly snapshotId?: string | undefined;
  readonly volumeType?: string | undefined;
}

/**
 * The disks that an image stands for, as Nova writes them (nova/objects/block_device.py `get_image_mapping`, nova/block_device.py `snapshot_from_bdm`). A place in the order of booting that is
 * empty, since its volume was detached, is closed: no server could be made of an image that has it.
 */
export function mappingOf(devices: readonly MappedDevice[]): string {
  const order = [...new Set([0, ...devices.flatMap(({ boot_index }) => boot_index ?? [])])].toSorted((a, b) => a - b);
  return JSON.stringify(
    devices.map((device) => ({
      device_name: `/dev/${device.target}`,
      source_type: device.snapshotId ? "snapshot" : "blank",
      destination_type: device.snapshotId ? "volume" : "local",
      snapshot_id: device.snapshotId ?? null,
      volume_size: Math.ceil(device.size_bytes / (isLocalSwap(device) ? MiB : GiB)),
      boot_index: device.boot_index === null ? null : order.indexOf(device.boot_index),
      delete_on_termination: device.delete_on_termination === 1,
      disk_bus: device.bus,
      device_type: device.kind,
      guest_format: device.guest_format,
      tag: device.tag,
      volume_type: device.volumeType ?? null,
    })),
  );
}

/** Its size is in MiB: `sizeGibOf`. */
function isLocalSwap({ guest_format: format, snapshotId }: MappedDevice): boolean {
  return format === "swap" && snapshotId === undefined;
}

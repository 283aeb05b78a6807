import { devicesOf } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { getDisk } from "#/db/disks.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { freeTarget } from "#/domain/block-device.ts";
import { type BlockNode, fileNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { bootOf } from "#/saga/boot-files.ts";
import { guestNic } from "#/saga/guest-nic.ts";
import type { SagaServices } from "#/saga/context.ts";
import { isOn, type ServerFlavor } from "#/domain/server.ts";
import { MiB } from "#/lib/units.ts";
import type { Pools } from "#/storage/pools.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";
import type { ServerFolder } from "#/vm/server-folder.ts";

type Services = { readonly db: Database; readonly pools: Pools };

/** The server's hardware, as its records say: its flavor, its disks where they lie, and what its image asks for (Nova's image properties). */
export async function guestSpec({ limits, ...services }: Services & Pick<SagaServices, "limits">, server: ServerTable, folder: ServerFolder): Promise<GuestSpec> {
  const flavor: ServerFlavor = JSON.parse(server.flavor);
  const properties: Record<string, string> = JSON.parse(server.image_properties);
  const devices = await devicesOf(services.db, server.id);
  const shown = devices.filter(isShown);
  const disks = await Promise.all(shown.map((device) => guestDisk(services, { ...device, boot_index: bootIndexIn(shown, device) })));
  return {
    id: server.id,
    title: server.name,
    memoryBytes: flavor.ramMib * MiB,
    vcpuCount: flavor.vcpus,
    boot: await bootOf(services, properties, folder, disks.find(({ bootOrder }) => bootOrder === 1)?.target ?? "vda"),
    disks: server.config_drive ? [...disks, configDrive(folder, properties, disks)] : disks,
    nics: server.network === "none" ? [] : [guestNic(limits.servers.network, server.id, properties["hw_vif_model"])],
    consoleLogPath: folder.consoleLogPath,
    guestAgent: isOn(properties["hw_qemu_guest_agent"]),
    rng: properties["hw_rng_model"] !== undefined,
    machineType: properties["hw_machine_type"],
    scsiModel: properties["hw_scsi_model"],
    videoModel: properties["hw_video_model"],
  };
}

/** The disk that a rescued server boots from has this as its `guest_format`. */
export const RESCUE = "rescue";

/** A server boots from its rescue disk alone, while it has one. */
function bootIndexIn(devices: readonly BlockDeviceTable[], device: BlockDeviceTable): number | null {
  if (!devices.some(({ guest_format }) => guest_format === RESCUE)) return device.boot_index;
  return device.guest_format === RESCUE ? 0 : null;
}

/** A device as the hypervisor opens it: the disk where it lies, with its format pinned. */
export async function guestDisk(services: Services, device: BlockDeviceTable): Promise<GuestDisk> {
  return {
    target: device.target,
    bus: device.bus,
    device: device.kind,
    node: await nodeOf(services, device),
    serial: device.volume_id ?? device.id,
    readOnly: device.kind === "cdrom",
    discard: true,
    ...(device.boot_index !== null && { bootOrder: device.boot_index + 1 }),
  };
}

async function nodeOf({ db, pools }: Services, device: BlockDeviceTable): Promise<BlockNode> {
  const id = device.disk_id ?? (await diskOfVolume(db, device));
  const disk = await getDisk(db, diskId(id));
  return pools.get(disk.pool).open(disk, device.kind === "cdrom" ? "read" : "write");
}

async function diskOfVolume(db: Database, { volume_id }: BlockDeviceTable): Promise<string> {
  const volume = await db.selectFrom("volume").select("disk_id").where("id", "=", volume_id).executeTakeFirst();
  if (!volume?.disk_id) throw new AppError("gone", `The volume ${volume_id} has no bytes.`);
  return volume.disk_id;
}

/** A device that is being taken away is not given to the guest again. */
function isShown({ state }: BlockDeviceTable): boolean {
  return state !== "detaching";
}

/** Nova's `config_drive_format` iso9660: a CD-ROM on the bus that the image wants for those. */
function configDrive(folder: ServerFolder, properties: Readonly<Record<string, string>>, disks: readonly GuestDisk[]): GuestDisk {
  const isQ35 = properties["hw_machine_type"]?.includes("q35") ?? false;
  const bus = (properties["hw_cdrom_bus"] as GuestDisk["bus"] | undefined) ?? (isQ35 ? "sata" : "ide");
  const target = freeTarget(bus, new Set(disks.map((disk) => disk.target)));
  return { target, bus, device: "cdrom", node: fileNode(folder.configDrivePath, "raw"), readOnly: true, cache: "writeback" };
}

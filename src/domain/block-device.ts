import { FILE_SYSTEM_KINDS } from "./file-system.ts";
import { invalidDevice } from "./server.ts";

/** One disk of a server as its user asks for it: an entry of `block_device_mapping_v2` (nova/block_device.py, nova/compute/api.py). */
export interface BlockDeviceRequest {
  readonly source: (typeof SOURCES)[number];
  readonly destination: (typeof DESTINATIONS)[number];
  /** Of the image, snapshot or volume. */
  readonly sourceId?: string | undefined;
  /** Of local swap, whose size clients give in MiB, it may be a fraction: `sizeGibOf`. */
  readonly sizeGib?: number | undefined;
  /** The place in the order of booting; undefined: not to boot from. */
  readonly bootIndex?: number | undefined;
  readonly deleteOnTermination: boolean;
  readonly deviceName?: string | undefined;
  readonly bus?: DiskBus | undefined;
  readonly kind: DeviceKind;
  /** Of blank local disks: `swap`, or a file system. */
  readonly guestFormat?: string | undefined;
  readonly volumeType?: string | undefined;
  readonly tag?: string | undefined;
}

export const SOURCES = ["image", "snapshot", "volume", "blank"] as const;
export const DESTINATIONS = ["local", "volume"] as const;
/** nova/virt/libvirt/blockinfo.py `SUPPORTED_DEVICE_BUSES` for QEMU. */
export const DISK_BUSES = ["virtio", "scsi", "sata", "ide", "usb", "fdc"] as const;
export type DiskBus = (typeof DISK_BUSES)[number];
export const DEVICE_KINDS = ["disk", "cdrom", "floppy", "lun"] as const;
export type DeviceKind = (typeof DEVICE_KINDS)[number];

export interface BlockDeviceLimits {
  /** Nova's `max_local_block_devices`; −1 is without a limit. */
  readonly localMax: number;
  /** Of the flavor. */
  readonly ephemeralGib: number;
  readonly swapMib: number;
}

/**
 * The size as a request has it, in GiB. `volume_size` is in MiB where the disk is local swap: Nova compares it with the flavor's swap, and
 * clients say so (`openstack server create --swap`). 0 on a local disk is as good as none: the flavor's own size.
 */
export function sizeGibOf(volumeSize: number | undefined, { destination, guestFormat }: Pick<BlockDeviceRequest, "destination" | "guestFormat">): number | undefined {
  if (destination === "volume") return volumeSize;
  if (!volumeSize) return undefined;
  return guestFormat === "swap" ? volumeSize / 1024 : volumeSize;
}

/** Throws 400 where the devices do not make a server, as Nova does and in its words. `imageId`: the `imageRef` of the request. */
export function checkBlockDevices(devices: readonly BlockDeviceRequest[], imageId: string | undefined, limits: BlockDeviceLimits): void {
  for (const device of devices) {
    checkDevice(device, imageId);
    checkGuestFormat(device);
  }
  checkBootSequence(devices);
  checkLocal(devices, limits);
  checkUnique(devices);
}

function checkDevice(device: BlockDeviceRequest, imageId: string | undefined): void {
  const { source, destination, sourceId, sizeGib } = device;
  if (source !== "blank" && sourceId === undefined) throw invalidDevice("Missing device UUID.");
  if (source === "blank" && sourceId !== undefined) throw invalidDevice("Invalid device UUID.");
  if (destination === "local") {
    if (source === "snapshot" || source === "volume") throw invalidDevice(`Mapping ${source} to local is not supported.`);
    if (source === "image" && (device.bootIndex !== 0 || sourceId !== imageId)) throw invalidDevice("Mapping image to local is not supported.");
    return;
  }
  if ((source === "image" || source === "blank") && !sizeGib) {
    throw invalidDevice(`${source === "image" ? "Images" : "Blank volumes"} with destination_type 'volume' need to have a non-zero size specified`);
  }
}

/** From 0 upwards without a gap, and 0 is there. nova/compute/api.py `_validate_bdm`. */
function checkBootSequence(devices: readonly BlockDeviceRequest[]): void {
  const indexes = devices.flatMap(({ bootIndex }) => bootIndex ?? []).toSorted((a, b) => a - b);
  if (indexes.length === 0 || indexes.some((index, place) => index !== place)) {
    throw invalidDevice("Boot sequence for the instance and image/block device mapping combination is not valid.");
  }
}

function checkLocal(devices: readonly BlockDeviceRequest[], { localMax, ephemeralGib, swapMib }: BlockDeviceLimits): void {
  const local = devices.filter(({ destination }) => destination === "local");
  if (localMax >= 0 && local.length > localMax) throw invalidDevice("You specified more local devices than the limit allows");
  const blank = local.filter(({ source }) => source === "blank");
  const swaps = blank.filter(isSwap);
  if (swaps.length > 1) throw invalidDevice("More than one swap drive requested.");
  if (swaps.some(({ sizeGib }) => sizeGib === undefined ? swapMib === 0 : sizeGib * 1024 > swapMib)) {
    throw invalidDevice("Swap drive requested is larger than instance type allows.");
  }
  const ephemeral = blank.filter((device) => !isSwap(device));
  const ephemeralWanted = ephemeral.reduce((sum, { sizeGib }) => sum + (sizeGib ?? ephemeralGib), 0);
  if (ephemeralWanted > ephemeralGib || (ephemeral.length > 0 && ephemeralGib === 0)) {
    throw invalidDevice("Ephemeral disks requested are larger than the instance type allows. If no size is given in one block device mapping, flavor ephemeral size will be used.");
  }
}

function checkGuestFormat({ source, destination, guestFormat }: BlockDeviceRequest): void {
  if (source !== "blank" || destination !== "local" || guestFormat === undefined) return;
  if (!(FILE_SYSTEM_KINDS as readonly string[]).includes(guestFormat)) throw invalidDevice(`guest_format "${guestFormat}" is none of: ${FILE_SYSTEM_KINDS.join(", ")}.`);
}

function checkUnique(devices: readonly BlockDeviceRequest[]): void {
  refuseDuplicates(devices.flatMap(({ source, sourceId = [] }) => (source === "volume" ? sourceId : [])), "A volume is named more than once.");
  refuseDuplicates(devices.flatMap(({ tag }) => tag ?? []), "Duplicate device tags.");
  refuseDuplicates(devices.flatMap(({ deviceName }) => (deviceName ? targetOf(deviceName) : [])), "Duplicate device names.");
}

function refuseDuplicates(names: readonly string[], complaint: string): void {
  if (new Set(names).size < names.length) throw invalidDevice(complaint);
}

function isSwap({ guestFormat }: Pick<BlockDeviceRequest, "guestFormat">): boolean {
  return guestFormat === "swap";
}

/** `/dev/vdb` or `vdb`, as people write device names. */
export function targetOf(deviceName: string): string {
  return deviceName.replace(/^\/dev\//, "");
}

/** Names of devices go by their bus, as Linux guests call them: vda, sdb, hdc. */
const PREFIXES: Readonly<Record<DiskBus, string>> = { virtio: "vd", scsi: "sd", sata: "sd", usb: "sd", ide: "hd", fdc: "fd" };

/** The first name of the bus that is not taken: vda … vdz, vdaa, … */
export function freeTarget(bus: DiskBus, taken: ReadonlySet<string>): string {
  for (let index = 0; ; index++) {
    const target = PREFIXES[bus] + letters(index);
    if (!taken.has(target)) return target;
  }
}

function letters(index: number): string {
  const last = String.fromCharCode(97 + (index % 26));
  return index < 26 ? last : letters(Math.floor(index / 26) - 1) + last;
}

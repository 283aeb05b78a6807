import { FILE_SYSTEM_KINDS } from "./file-system.ts";
import { invalidDevice } from "./server.ts";

/** One disk of a server as its user asks for it: an entry of `block_device_mapping_v2` (nova/block_device.py, nova/compute/api.py). */
export interface BlockDeviceRequest {
  readonly source: "image" | "snapshot" | "volume" | "blank";
  readonly destination: "local" | "volume";
  /** Of the image, snapshot or volume. */
  readonly sourceId?: string | undefined;
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
  const swapWanted = (swaps[0]?.sizeGib ?? 0) * 1024;
  if (swapWanted > swapMib) throw invalidDevice("Swap drive requested is larger than instance type allows.");
  const ephemeralWanted = blank.filter((device) => !isSwap(device)).reduce((sum, { sizeGib }) => sum + (sizeGib ?? ephemeralGib), 0);
  if (ephemeralWanted > ephemeralGib) throw invalidDevice("Ephemeral disks requested are larger than the instance type allows.");
}

function checkGuestFormat({ source, destination, guestFormat }: BlockDeviceRequest): void {
  if (source !== "blank" || destination !== "local" || guestFormat === undefined) return;
  if (!(FILE_SYSTEM_KINDS as readonly string[]).includes(guestFormat)) throw invalidDevice(`guest_format "${guestFormat}" is none of: ${FILE_SYSTEM_KINDS.join(", ")}.`);
}

function checkUnique(devices: readonly BlockDeviceRequest[]): void {
  const volumes = devices.filter(({ source }) => source === "volume").map(({ sourceId }) => sourceId);
  if (new Set(volumes).size < volumes.length) throw invalidDevice("A volume is named more than once.");
  for (const key of ["tag", "deviceName"] as const) {
    const given = devices.flatMap((device) => device[key] ?? []);
    if (new Set(given).size < given.length) throw invalidDevice(key === "tag" ? "Duplicate device tags." : "Duplicate device names.");
  }
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

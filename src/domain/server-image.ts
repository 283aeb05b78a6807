import { GiB, MiB } from "#/lib/units.ts";
import { type BlockDeviceRequest, DESTINATIONS, DEVICE_KINDS, type DeviceKind, DISK_BUSES, type DiskBus, sizeGibOf, SOURCES } from "./block-device.ts";
import { AppError } from "./errors.ts";
import type { Flavor } from "./flavor.ts";
import type { Image } from "./image.ts";
import { invalidDevice, isOn } from "./server.ts";

/** 400 unless a server of that flavor can be made of the image. `localRoot`: its root disk is of the flavor's size. nova/compute/api.py `_validate_flavor_image`. */
export function refuseServerImage(image: Image, flavor: Pick<Flavor, "ramMib" | "diskGib">, { localRoot }: { localRoot: boolean }): void {
  if (image.status !== "active") throw new AppError("bad_request", `Image ${image.id} is not active.`);
  refuseLittleMemory(flavor, image.minRamMib);
  if (!localRoot || flavor.diskGib === 0) return;
  const diskBytes = flavor.diskGib * GiB;
  const imageBytes = image.virtualSizeBytes ?? image.sizeBytes ?? 0;
  if (imageBytes > diskBytes) {
    throw new AppError("bad_request", `Flavor's disk is too small for requested image. Flavor disk is ${diskBytes} bytes, image is ${imageBytes} bytes.`);
  }
  if (image.minDiskGib * GiB <= diskBytes) return;
  const minimum = `minimum size is ${image.minDiskGib * GiB} bytes`;
  throw new AppError("bad_request", `Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is ${diskBytes} bytes, ${minimum}.`);
}

/** 400 where the image that a server boots from, also by way of a volume, wants more memory. */
export function refuseLittleMemory({ ramMib }: Pick<Flavor, "ramMib">, minRamMib: number): void {
  if (ramMib < minRamMib) throw new AppError("bad_request", "Flavor's memory is too small for requested image.");
}

/** The bus that the image wants for disks, or for what is not one. 400 where QEMU has none of that name. */
export function busOf(properties: Readonly<Record<string, string>>, kind: DeviceKind): DiskBus {
  const name = kind === "cdrom" ? "hw_cdrom_bus" : kind === "floppy" ? "hw_floppy_bus" : "hw_disk_bus";
  const fallback = kind === "cdrom" ? "ide" : kind === "floppy" ? "fdc" : "virtio";
  const bus = properties[name] ?? fallback;
  if (!(DISK_BUSES as readonly string[]).includes(bus)) throw new AppError("bad_request", `The image's ${name} "${bus}" is none of: ${DISK_BUSES.join(", ")}.`);
  return bus as DiskBus;
}

/**
 * The disks that an image of a volume-backed server stands for: its properties `bdm_v2` and `block_device_mapping` (nova/block_device.py).
 * Whoever may change the image can write them: 400 where they are no mappings.
 */
export function mappedDevices(properties: Readonly<Record<string, string>>): BlockDeviceRequest[] {
  const text = properties["block_device_mapping"];
  if (!text || !isOn(properties["bdm_v2"])) return [];
  return mappingsIn(text)
    .filter((mapping) => mapping["no_device"] !== true)
    .map(mappedDevice);
}

type Mapping = Readonly<Record<string, unknown>>;

function mappingsIn(text: string): Mapping[] {
  const parsed = parsedOrNot(text);
  const isMapping = (value: unknown): value is Mapping => typeof value === "object" && value !== null && !Array.isArray(value);
  if (!Array.isArray(parsed) || !parsed.every(isMapping)) throw invalidDevice("the image's block_device_mapping is not a list of mappings.");
  return parsed;
}

function parsedOrNot(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function mappedDevice(mapping: Mapping): BlockDeviceRequest {
  const source = oneOf(SOURCES, mapping, "source_type");
  if (source === undefined) throw unusable(mapping, "source_type");
  const destination = oneOf(DESTINATIONS, mapping, "destination_type") ?? (source === "image" || source === "blank" ? "local" : "volume");
  const guestFormat = textOf(mapping, "guest_format");
  const bootIndex = wholeOf(mapping, "boot_index");
  return {
    source,
    destination,
    sourceId: source === "blank" ? undefined : textOf(mapping, `${source}_id`),
    sizeGib: sizeGibOf(wholeOf(mapping, "volume_size"), { destination, guestFormat }),
    bootIndex: bootIndex === undefined || bootIndex < 0 ? undefined : bootIndex,
    deleteOnTermination: mapping["delete_on_termination"] === true,
    deviceName: textOf(mapping, "device_name"),
    bus: oneOf(DISK_BUSES, mapping, "disk_bus"),
    kind: oneOf(DEVICE_KINDS, mapping, "device_type") ?? "disk",
    guestFormat,
    volumeType: textOf(mapping, "volume_type"),
    tag: textOf(mapping, "tag"),
  };
}

const unusable = (mapping: Mapping, field: string): AppError =>
  invalidDevice(`the image's block_device_mapping has ${JSON.stringify(mapping[field])?.slice(0, 80)} for ${field}.`);

/** Undefined where the mapping does not say. */
function oneOf<T extends string>(values: readonly T[], mapping: Mapping, field: string): T | undefined {
  const text = textOf(mapping, field);
  if (text !== undefined && !(values as readonly string[]).includes(text)) throw unusable(mapping, field);
  return text as T | undefined;
}

function textOf(mapping: Mapping, field: string): string | undefined {
  const value = mapping[field];
  if (value !== undefined && value !== null && typeof value !== "string") throw unusable(mapping, field);
  return value || undefined;
}

/** Also of its digits. */
function wholeOf(mapping: Mapping, field: string): number | undefined {
  const value = mapping[field];
  if (value === undefined || value === null) return undefined;
  const number = typeof value === "string" && /^-?\d{1,9}$/.test(value) ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number)) throw unusable(mapping, field);
  return number;
}

/** The disks that a flavor adds where its user did not ask for any of the kind: ephemeral ones and swap. */
export function flavorDevices(flavor: Pick<Flavor, "ephemeralGib" | "swapMib">, asked: readonly BlockDeviceRequest[]): (BlockDeviceRequest & { readonly sizeBytes: number })[] {
  const blank = asked.filter(({ source, destination }) => source === "blank" && destination === "local");
  const made = { source: "blank", destination: "local", deleteOnTermination: true, kind: "disk" } as const;
  const wantsEphemeral = flavor.ephemeralGib > 0 && blank.every(({ guestFormat }) => guestFormat === "swap");
  const wantsSwap = flavor.swapMib > 0 && blank.every(({ guestFormat }) => guestFormat !== "swap");
  return [
    ...(wantsEphemeral ? [{ ...made, sizeBytes: flavor.ephemeralGib * GiB }] : []),
    ...(wantsSwap ? [{ ...made, guestFormat: "swap", sizeBytes: flavor.swapMib * MiB }] : []),
  ];
}

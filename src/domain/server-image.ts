import { GiB, MiB } from "#/lib/units.ts";
import { type BlockDeviceRequest, type DeviceKind, DISK_BUSES, type DiskBus } from "./block-device.ts";
import { AppError } from "./errors.ts";
import type { Flavor } from "./flavor.ts";
import type { Image } from "./image.ts";

/** 400 unless a server of that flavor can be made of the image. `localRoot`: its root disk is of the flavor's size. nova/compute/api.py `_validate_flavor_image`. */
export function refuseServerImage(image: Image, flavor: Pick<Flavor, "ramMib" | "diskGib">, { localRoot }: { localRoot: boolean }): void {
  if (image.status !== "active") throw new AppError("bad_request", `Image ${image.id} is not active.`);
  if (flavor.ramMib < image.minRamMib) throw new AppError("bad_request", "Flavor's memory is too small for requested image.");
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

/** The bus that the image wants for disks, or for what is not one. 400 where QEMU has none of that name. */
export function busOf(properties: Readonly<Record<string, string>>, kind: DeviceKind): DiskBus {
  const name = kind === "cdrom" ? "hw_cdrom_bus" : kind === "floppy" ? "hw_floppy_bus" : "hw_disk_bus";
  const fallback = kind === "cdrom" ? "ide" : kind === "floppy" ? "fdc" : "virtio";
  const bus = properties[name] ?? fallback;
  if (!(DISK_BUSES as readonly string[]).includes(bus)) throw new AppError("bad_request", `The image's ${name} "${bus}" is none of: ${DISK_BUSES.join(", ")}.`);
  return bus as DiskBus;
}

/** The disks that an image of a volume-backed server stands for: its properties `bdm_v2` and `block_device_mapping` (nova/block_device.py). */
export function mappedDevices(properties: Readonly<Record<string, string>>): BlockDeviceRequest[] {
  const text = properties["block_device_mapping"];
  if (!text || properties["bdm_v2"]?.toLowerCase() !== "true") return [];
  const mappings = JSON.parse(text) as Record<string, unknown>[];
  return mappings.map((mapping) => ({
    source: mapping["source_type"] as BlockDeviceRequest["source"],
    destination: mapping["destination_type"] as BlockDeviceRequest["destination"],
    sourceId: (mapping["snapshot_id"] ?? mapping["volume_id"] ?? mapping["image_id"] ?? undefined) as string | undefined,
    sizeGib: numberOf(mapping["volume_size"]),
    bootIndex: bootIndexOf(mapping["boot_index"]),
    deleteOnTermination: mapping["delete_on_termination"] === true,
    deviceName: (mapping["device_name"] ?? undefined) as string | undefined,
    bus: (mapping["disk_bus"] ?? undefined) as DiskBus | undefined,
    kind: (mapping["device_type"] ?? "disk") as DeviceKind,
    guestFormat: (mapping["guest_format"] ?? undefined) as string | undefined,
    volumeType: (mapping["volume_type"] ?? undefined) as string | undefined,
    tag: (mapping["tag"] ?? undefined) as string | undefined,
  }));
}

const numberOf = (value: unknown): number | undefined => (value === null || value === undefined ? undefined : Number(value));

function bootIndexOf(value: unknown): number | undefined {
  const index = numberOf(value);
  return index === undefined || index < 0 ? undefined : index;
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

import Type, { type Static } from "typebox";
import { type BlockDeviceRequest, DESTINATIONS, DEVICE_KINDS, DISK_BUSES, sizeGibOf, SOURCES } from "#/domain/block-device.ts";
import { AppError } from "#/domain/errors.ts";
import { invalidDevice } from "#/domain/server.ts";
import { count, Flag, flag } from "./fields.ts";

/** Names of devices: `/dev/vdb`, `vdb`. */
const DeviceName = Type.Union([Type.String({ minLength: 1, maxLength: 255, pattern: "^[a-zA-Z0-9._\\-/]*$" }), Type.Null()]);
const OptionalText = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()]));
const Size = Type.Optional(Type.Union([count(0), Type.Null()]));
export const DeviceTag = Type.String({ minLength: 1, maxLength: 60, pattern: "^[^,/]*$" });

/** nova/api/openstack/compute/schemas/servers.py. `tag` was there in 2.32, gone in 2.33 by mistake, and is back since 2.42. */
const FIELDS_2_1 = {
  source_type: Type.Optional(Type.Enum([...SOURCES])),
  destination_type: Type.Optional(Type.Enum([...DESTINATIONS])),
  uuid: OptionalText,
  image_id: OptionalText,
  volume_size: Size,
  boot_index: Type.Optional(Type.Union([Type.Integer(), Type.String({ pattern: "^-?[0-9]{1,9}$" }), Type.Null()])),
  delete_on_termination: Type.Optional(Flag),
  device_name: Type.Optional(DeviceName),
  device_type: OptionalText,
  disk_bus: OptionalText,
  guest_format: OptionalText,
  no_device: Type.Optional(Type.Unknown()),
};
const TAG = { tag: Type.Optional(DeviceTag) };
const VOLUME_TYPE = { volume_type: OptionalText };

export function deviceFields(minor: number) {
  return { ...FIELDS_2_1, ...((minor === 32 || minor >= 42) && TAG), ...(minor >= 67 && VOLUME_TYPE) };
}
/** All that any microversion has. */
export const AnyDevice = Type.Object({ ...FIELDS_2_1, ...TAG, ...VOLUME_TYPE });
type Mapping = Static<typeof AnyDevice>;

/** The first form of mappings, by the volume or snapshot alone. */
export const OLD_DEVICE_FIELDS = {
  volume_id: OptionalText,
  snapshot_id: OptionalText,
  volume_size: Size,
  device_name: Type.Optional(DeviceName),
  delete_on_termination: Type.Optional(Flag),
  virtual_name: OptionalText,
  no_device: Type.Optional(Type.Unknown()),
  connection_info: OptionalText,
};
const OldFields = Type.Object(OLD_DEVICE_FIELDS);
type OldMapping = Static<typeof OldFields>;

/** The disks that the entries of `block_device_mapping_v2` ask for. 400 where one says nothing that can be done. */
export function devicesIn(mappings: readonly Mapping[]): BlockDeviceRequest[] {
  return mappings.filter(({ no_device }) => !no_device).map(deviceIn);
}

/** The names of devices that are not to be there, in either form: an image that stands for disks may bring them. */
export function leftOutIn(mappings: readonly Pick<Mapping, "no_device" | "device_name">[]): string[] {
  return mappings.filter(({ no_device }) => no_device).flatMap(({ device_name }) => device_name || []);
}

/** The disks that the old form asks for; with a server's image, or else the first of them to boot from. */
export function oldDevicesIn(mappings: readonly OldMapping[], { hasImage }: { hasImage: boolean }): BlockDeviceRequest[] {
  return mappings.filter(({ no_device }) => !no_device).map((mapping, index) => oldDeviceIn(mapping, !hasImage && index === 0 ? 0 : undefined));
}

function deviceIn(mapping: Mapping): BlockDeviceRequest {
  const source = mapping.source_type ?? "blank";
  const { device_type: kind = "disk", disk_bus: bus } = mapping;
  if (!isOneOf(DEVICE_KINDS, kind ?? "disk")) throw invalidDevice(`Unknown device type ${kind}.`);
  if (bus && !isOneOf(DISK_BUSES, bus)) throw invalidDevice(`Disk bus ${bus} is none of: ${DISK_BUSES.join(", ")}.`);
  const destination = mapping.destination_type ?? (source === "image" || source === "blank" ? "local" : "volume");
  const guestFormat = mapping.guest_format ?? undefined;
  const size = mapping.volume_size ?? undefined;
  return {
    source,
    destination,
    sourceId: mapping.uuid || mapping.image_id || undefined,
    sizeGib: sizeGibOf(size === undefined ? undefined : Number(size), { destination, guestFormat }),
    bootIndex: bootIndexIn(mapping.boot_index),
    deleteOnTermination: flag(mapping.delete_on_termination),
    deviceName: mapping.device_name ?? undefined,
    bus: (bus ?? undefined) as BlockDeviceRequest["bus"],
    kind: (kind ?? "disk") as BlockDeviceRequest["kind"],
    guestFormat,
    volumeType: mapping.volume_type || undefined,
    tag: mapping.tag,
  };
}

function oldDeviceIn(mapping: OldMapping, bootIndex: number | undefined): BlockDeviceRequest {
  const { volume_id, snapshot_id, volume_size, device_name } = mapping;
  if (mapping.virtual_name) throw new AppError("bad_request", "virtual_name is of disks that no longer are: use block_device_mapping_v2.");
  if (!volume_id && !snapshot_id) throw invalidDevice("Missing device UUID.");
  return {
    source: volume_id ? "volume" : "snapshot",
    destination: "volume",
    sourceId: volume_id || snapshot_id || undefined,
    sizeGib: volume_size ? Number(volume_size) : undefined,
    bootIndex,
    deleteOnTermination: flag(mapping.delete_on_termination),
    deviceName: device_name ?? undefined,
    kind: "disk",
  };
}

/** Negative and null are not to boot from. */
function bootIndexIn(value: number | string | null | undefined): number | undefined {
  const index = value === null || value === undefined ? -1 : Number(value);
  return index < 0 ? undefined : index;
}

const isOneOf = (values: readonly string[], value: string): boolean => values.includes(value);

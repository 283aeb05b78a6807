import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import type { Materialise } from "#/app/materialise.ts";
import type { PreparedVolume, VolumeCreation } from "#/app/volume-creation.ts";
import type { Volume, Volumes } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import type { KeyValuePairs } from "#/db/key-values.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { changeVolumeIn } from "#/db/volumes.ts";
import { type BlockDeviceRequest, checkBlockDevices, type DiskBus, freeTarget, targetOf } from "#/domain/block-device.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { FileSystem } from "#/domain/file-system.ts";
import type { Flavor } from "#/domain/flavor.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import { invalidDevice } from "#/domain/server.ts";
import { busOf, flavorDevices, mappedDevices, refuseLittleMemory } from "#/domain/server-image.ts";
import { invalidVolume } from "#/domain/volume.ts";
import { inheritedProperties } from "#/domain/volume-source.ts";
import { volumeTypeNotFound } from "#/domain/volume-type.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { Plan } from "#/planner/plan.ts";

/** A disk of a server to be, and how it comes about. */
export interface DecidedDevice {
  readonly request: BlockDeviceRequest;
  readonly target: string;
  readonly bus: DiskBus;
  readonly sizeBytes: number;
  readonly made:
    | { readonly kind: "disk"; readonly plan: Plan }
    | { readonly kind: "volume"; readonly prepared: PreparedVolume }
    /** It is there already. */
    | { readonly kind: "existing"; readonly volumeId: string };
}

/** Where a disk comes from; with what Cinder keeps of an image, where it is a volume of one. */
interface DeviceSource extends Pick<DecidedDevice, "made" | "sizeBytes"> {
  readonly imageMetadata?: KeyValuePairs;
}

/** The records of a server's disks, and what is to be done for them. */
export interface RecordedDevices {
  readonly rows: BlockDeviceTable[];
  readonly disks: { deviceId: string; plan: Plan; fileSystem?: FileSystem | undefined }[];
  readonly volumes: { volumeId: string; operationId: OperationId }[];
}

interface Wanted {
  readonly image: Image | undefined;
  readonly flavor: Flavor;
  readonly asked: readonly BlockDeviceRequest[];
  /** Names of devices that the image brings, and the server is not to have. */
  readonly leftOut: readonly string[];
}

interface ServerDevicesParts {
  readonly volumes: Pick<Volumes, "get">;
  readonly volumeCreation: Pick<VolumeCreation, "prepare" | "record">;
  readonly materialise: Pick<Materialise, "planServerDisk">;
}

/** The disks of servers that are being made: which there are, how each comes about, and their records. */
export class ServerDevices {
  readonly #context: AppContext;
  readonly #parts: ServerDevicesParts;

  constructor(context: AppContext, parts: ServerDevicesParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** Errors: 400 for what does not make a server, in Nova's words; 403 beyond a limit; `pool_full`. */
  async decide(caller: Caller, { image, flavor, asked, leftOut }: Wanted): Promise<{ devices: DecidedDevice[]; imageProperties: KeyValuePairs }> {
    const { servers } = this.#context.config;
    const requested = withImage(image, asked, leftOut);
    checkBlockDevices(requested, image?.id, { localMax: servers.localDevicesMax, ephemeralGib: flavor.ephemeralGib, swapMib: flavor.swapMib });
    const all = [...requested, ...flavorDevices(flavor, requested)].toSorted(byBootIndex);
    refuseTooMany(all.length, servers.attachedDevicesMax);
    const sourced: (DeviceSource & { request: BlockDeviceRequest })[] = [];
    for (const request of all) sourced.push({ request, ...(await this.#source(caller, request, { image, flavor })) });
    const imageProperties = bootProperties(image, flavor, sourced);
    const taken = new Set<string>();
    const devices: DecidedDevice[] = [];
    for (const { request, made, sizeBytes } of sourced) {
      const bus = request.bus ?? busOf(imageProperties, request.kind);
      const target = chooseTarget(request, bus, taken);
      taken.add(target);
      devices.push({ request, bus, target, made, sizeBytes });
    }
    return { devices, imageProperties };
  }

  /** Records the devices of one server: volumes that are there are its own from now on, others are begun. */
  async record(trx: Database, caller: Caller, server: ServerTable, devices: readonly DecidedDevice[]): Promise<RecordedDevices> {
    const recorded: RecordedDevices = { rows: [], disks: [], volumes: [] };
    for (const device of devices) {
      const id = randomUUID();
      const { made } = device;
      if (made.kind === "disk") recorded.disks.push({ deviceId: id, plan: made.plan, fileSystem: fileSystemOf(device, recorded.disks) });
      const volumeId = made.kind === "disk" ? null : await this.#takeVolume(trx, caller, { server, device, recorded });
      recorded.rows.push(rowOf(server, device, { id, volumeId }));
    }
    return recorded;
  }

  async #takeVolume(trx: Database, caller: Caller, { server, device, recorded }: { server: ServerTable; device: DecidedDevice; recorded: RecordedDevices }): Promise<string> {
    const { made } = device;
    if (made.kind === "volume") {
      const { volume, operationId } = await this.#parts.volumeCreation.record(trx, caller, made.prepared);
      recorded.volumes.push({ volumeId: volume.id, operationId });
      return volume.id;
    }
    if (made.kind !== "existing") throw new Error("Broken invariant: a local disk is no volume");
    const changes = { status: "reserved", updated_at: server.created_at };
    if (await changeVolumeIn(trx, made.volumeId, { from: ["available"], changes })) return made.volumeId;
    throw invalidVolume(`volume ${made.volumeId} status must be 'available', and somebody else took it just now.`);
  }

  async #source(caller: Caller, request: BlockDeviceRequest, { image, flavor }: Pick<Wanted, "image" | "flavor">): Promise<DeviceSource> {
    if (request.destination === "local") return this.#localDisk(request, { image, flavor });
    if (request.source === "volume") return this.#existingVolume(caller, request);
    const { sourceId, sizeGib, volumeType } = request;
    const origin = request.source === "image" ? { imageId: sourceId } : request.source === "snapshot" ? { snapshotId: sourceId } : {};
    const prepared = await this.#parts.volumeCreation
      .prepare(caller, { name: "", description: "", metadata: {}, sizeGib, volumeType, ...origin })
      .catch((error) => Promise.reject(asInvalidDevice(error, request)));
    return { made: { kind: "volume", prepared }, sizeBytes: prepared.sizeGib * GiB, imageMetadata: prepared.source.imageMetadata };
  }

  async #localDisk(request: BlockDeviceRequest & { readonly sizeBytes?: number }, { image, flavor }: Pick<Wanted, "image" | "flavor">): Promise<DeviceSource> {
    const { imagesType, useCowImages } = this.#context.config.servers;
    const source = request.source === "image" && image ? ({ kind: "image", id: image.id } as const) : ({ kind: "blank" } as const);
    const sizeBytes = request.sizeBytes ?? localSizeBytes(request, flavor);
    const plan = await this.#parts.materialise.planServerDisk({ source, sizeBytes, imagesType, useCowImages });
    return { made: { kind: "disk", plan }, sizeBytes: plan.target.virtualSizeBytes };
  }

  async #existingVolume(caller: Caller, { sourceId = "", bootIndex }: BlockDeviceRequest): Promise<DeviceSource> {
    const volume = await this.#volume(caller, sourceId);
    if (volume.status !== "available") throw invalidVolume(`volume '${sourceId}' status must be 'available'. Currently in '${volume.status}' status.`);
    if (bootIndex === 0 && volume.bootable !== 1) throw invalidDevice(`Volume ${sourceId} is not bootable: set its bootable flag (openstack volume set --bootable).`);
    return { made: { kind: "existing", volumeId: sourceId }, sizeBytes: volume.size_bytes, imageMetadata: volume.imageMetadata };
  }

  async #volume(caller: Caller, id: string): Promise<Volume> {
    return this.#parts.volumes.get(caller, id).catch((error) => {
      if (asAppError(error)?.code !== "not_found") throw error;
      throw invalidDevice(`failed to get volume ${id}.`);
    });
  }
}

/** What the server's hardware follows from: the properties of its image, else those that its boot volume has of one, without the facts of that image's record (nova/utils.py `get_image_metadata_from_volume`). 400 where that image wants more memory. */
function bootProperties(image: Image | undefined, flavor: Flavor, devices: readonly (DeviceSource & { request: BlockDeviceRequest })[]): KeyValuePairs {
  const metadata = devices.find(({ request }) => request.bootIndex === 0)?.imageMetadata ?? {};
  refuseLittleMemory(flavor, Math.max(image?.minRamMib ?? 0, Number(metadata["min_ram"]) || 0));
  return image?.properties ?? inheritedProperties(metadata);
}

/**
 * The image is the root disk, unless the request has another to boot from; one that stands for volumes brings these. What the request names
 * wins, also where it says that there is to be no such device, but for the image itself, which clients put in as the root. nova/compute/api.py `_check_and_transform_bdm`.
 */
function withImage(image: Image | undefined, asked: readonly BlockDeviceRequest[], leftOut: readonly string[]): BlockDeviceRequest[] {
  if (!image) return [...asked];
  const names = new Set([...asked.flatMap(({ deviceName }) => deviceName ?? []), ...leftOut].map(targetOf));
  const mapped = mappedDevices(image.properties).filter(({ deviceName }) => !deviceName || !names.has(targetOf(deviceName)));
  const bringsRoot = mapped.some(({ bootIndex }) => bootIndex === 0);
  const devices = [...mapped, ...(bringsRoot ? asked.filter(({ source, bootIndex }) => source !== "image" || bootIndex !== 0) : asked)];
  if (devices.some(({ source, destination, bootIndex }) => bootIndex === 0 || (source === "image" && destination === "local"))) return devices;
  const kind = image.diskFormat === "iso" ? "cdrom" : "disk";
  return [{ source: "image", destination: "local", sourceId: image.id, bootIndex: 0, deleteOnTermination: true, kind }, ...devices];
}

function byBootIndex(a: BlockDeviceRequest, b: BlockDeviceRequest): number {
  return (a.bootIndex ?? Number.MAX_SAFE_INTEGER) - (b.bootIndex ?? Number.MAX_SAFE_INTEGER);
}

/** Blank local disks come with a file system, or as swap, as their users ask; Nova's names for them. */
function fileSystemOf({ request: { source, guestFormat } }: DecidedDevice, before: RecordedDevices["disks"]): FileSystem | undefined {
  if (source !== "blank") return undefined;
  if (guestFormat === "swap") return { kind: "swap" };
  return { kind: (guestFormat ?? "ext4") as FileSystem["kind"], label: `ephemeral${before.filter(({ fileSystem }) => fileSystem && fileSystem.kind !== "swap").length}` };
}

/** Undefined: as large as the image. */
function localSizeBytes({ source, guestFormat, sizeGib }: BlockDeviceRequest, flavor: Flavor): number | undefined {
  if (source === "image") return flavor.diskGib === 0 ? undefined : flavor.diskGib * GiB;
  if (sizeGib !== undefined) return sizeGib * GiB;
  return guestFormat === "swap" ? flavor.swapMib * MiB : flavor.ephemeralGib * GiB;
}

/** The name that was asked for, where the bus has it and it is free; else the next one. */
function chooseTarget({ deviceName }: BlockDeviceRequest, bus: DiskBus, taken: ReadonlySet<string>): string {
  const free = freeTarget(bus, taken);
  const wanted = deviceName ? targetOf(deviceName) : free;
  return wanted.slice(0, 2) === free.slice(0, 2) && /^[a-z]{3,4}$/.test(wanted) && !taken.has(wanted) ? wanted : free;
}

function refuseTooMany(count: number, max: number): void {
  if (max >= 0 && count > max) throw new AppError("forbidden", `The maximum allowed number of disk devices (${max}) to attach to a single instance has been exceeded.`);
}

/** What a mapping names and nobody has is the request's fault: 400 in Nova's words (exception.InvalidBDMImage, …Snapshot, VolumeTypeNotFound). */
function asInvalidDevice(error: unknown, { source, sourceId, volumeType }: BlockDeviceRequest): unknown {
  const known = asAppError(error);
  if (known?.code !== "not_found") return error;
  if (volumeType !== undefined && known.message === volumeTypeNotFound(volumeType).message) return new AppError("bad_request", known.message, { cause: error });
  return source === "blank" ? error : invalidDevice(`failed to get ${source} ${sourceId}.`);
}

function rowOf(server: ServerTable, { request, target, bus, sizeBytes, made }: DecidedDevice, { id, volumeId }: { id: string; volumeId: string | null }): BlockDeviceTable {
  return {
    id,
    server_id: server.id,
    source: request.source,
    destination: request.destination,
    source_id: request.sourceId ?? null,
    volume_id: volumeId,
    disk_id: null,
    size_bytes: sizeBytes,
    target,
    bus,
    kind: request.kind,
    boot_index: request.bootIndex ?? null,
    guest_format: request.guestFormat ?? null,
    tag: request.tag ?? null,
    delete_on_termination: Number(request.deleteOnTermination),
    made_volume: Number(made.kind === "volume"),
    state: "attaching",
    created_at: server.created_at,
  };
}

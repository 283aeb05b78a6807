import { randomUUID } from "node:crypto";
import { refuseWithoutWay } from "#/app/capture-method.ts";
import type { AppContext } from "#/app/context.ts";
import type { Materialise } from "#/app/materialise.ts";
import { asForbidden, insertServerImage, newServerImage } from "#/app/new-server-image.ts";
import { onlyMethod, standingOf } from "#/app/open-volume.ts";
import { incrementsOf } from "#/app/previous-images.ts";
import type { Quotas } from "#/app/quotas.ts";
import { recordStart } from "#/app/server-history.ts";
import { capturedDevices, serverImageForm, serverImageFormat } from "#/app/server-image-form.ts";
import { operationOf } from "#/app/server-operations.ts";
import type { Servers } from "#/app/servers.ts";
import { devicesOf } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import type { KeyValuePairs } from "#/db/key-values.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { changeServerIn } from "#/db/servers.ts";
import { insertSnapshot } from "#/db/snapshots.ts";
import type { VolumeTable } from "#/db/tables.ts";
import { volumeTypeNames } from "#/db/volume-types.ts";
import { findVolume, lockVolumeIn } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { derivedName } from "#/domain/derived-name.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import { snapshotQuota } from "#/domain/quota.ts";
import { refusedInState, refuseUnlessIn, SERVER_ACTIONS, type ServerAction } from "#/domain/server.ts";
import { type MappedDevice, mappingOf, notFrozen, quiesceWishes, whyNoFreeze } from "#/domain/server-capture.ts";
import { orList, VOLUME_TRANSITIONS } from "#/domain/volume.ts";
import type { CaptureFacts } from "#/planner/capture.ts";
import { type CaptureServer, captureServer } from "#/saga/capture-server.ts";
import type { CapturedDisk } from "#/saga/captured-disk.ts";
import type { GuestStat } from "#/vm/driver.ts";

export interface ServerImageRequest {
  readonly name: string;
  /** Go over what the image inherits; what says that it is a backup goes over them. */
  readonly metadata: KeyValuePairs;
  /** Of each type (`daily`, `weekly`), as many of the newest as `rotation` says are kept. */
  readonly backup?: { readonly type: string; readonly rotation: number } | undefined;
}

interface ServerImagesParts {
  readonly servers: Pick<Servers, "find">;
  readonly quotas: Pick<Quotas, "take">;
  readonly materialise: Pick<Materialise, "planCapture">;
}

/** A disk of the server that is to be captured, with the volume that it is. */
interface Wanted {
  readonly device: BlockDeviceTable;
  readonly volume: VolumeTable | undefined;
  readonly disk: CapturedDisk;
}

interface Decided {
  readonly image: Image;
  readonly disks: readonly Wanted[];
  readonly params: CaptureServer;
}

/** Makes images of servers: each starts an operation, and returns when it is recorded. */
export class ServerImages {
  readonly #context: AppContext;
  readonly #parts: ServerImagesParts;

  constructor(context: AppContext, parts: ServerImagesParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /**
   * Records an image, `saving`, and starts to fill it from the server's disk; of one that boots from a volume, takes snapshots of its volumes instead, which the image stands for.
   * Also of a server that is locked: that is against changes of the server, which this is none of (nova/compute/api.py `snapshot`, `backup`).
   * 409 where the server's state, or a required freeze, is against it; 403 beyond the quota of snapshots, or of properties. The image's id.
   */
  async create(caller: Caller, id: string, request: ServerImageRequest): Promise<string> {
    requireRole(caller, "member", "make images of servers");
    const { db } = this.#context;
    const server = await this.#parts.servers.find(db, caller, id);
    refuseUnlessIn(server, request.backup ? "createBackup" : "createImage");
    const { image, disks, params } = await this.#decide(caller, server, request);
    const operationId = await db.transaction().execute(async (trx) => {
      await this.#lock(trx, caller, server, request.backup ? "createBackup" : "createImage");
      for (const wanted of disks) await this.#recordSnapshot(trx, caller, { wanted, image });
      await insertServerImage(trx, image, server);
      const [first] = disks;
      return this.#context.runner.begin(trx, captureServer, params, { ...operationOf(caller, server), plan: first?.disk.ways[0] });
    });
    void this.#context.runner.run(operationId);
    return image.id;
  }

  async #decide(caller: Caller, server: ServerTable, request: ServerImageRequest): Promise<Decided> {
    const { db, hypervisor } = this.#context;
    const properties: KeyValuePairs = JSON.parse(server.image_properties);
    const wishes = quiesceWishes(properties);
    const guest = await hypervisor.stat(server.id);
    if (wishes.requiresQuiesce) await this.#refuseWithoutFreeze(server, guest, wishes.hasAgent);
    const devices = await devicesOf(db, server.id);
    const root = devices.find(({ boot_index }) => boot_index === 0);
    if (!root) throw refusedInState("createImage", server);
    if (request.backup && root.volume_id !== null) throw new AppError("bad_request", `Backup is not supported for volume-backed instances.`);
    const own = { ...request.metadata, ...(request.backup && { image_type: "backup", backup_type: request.backup.type }) };
    const image = await newServerImage(this.#context, caller, server, { name: request.name, root, own, diskFormat: await serverImageFormat(this.#context, root) });
    const how = { guest: standingOf(guest), only: onlyMethod(this.#context.config.servers), requiresQuiesce: wishes.requiresQuiesce };
    const all = wantsAllDisks(request.metadata);
    const disks = await Promise.all(capturedDevices(root, devices, { all }).map((device) => this.#wanted(server, device, { image, how })));
    const runs = ["active", "paused"].includes(server.vm_state);
    const params = { serverId: server.id, imageId: image.id, disks: disks.map(({ disk }) => disk), ...wishes, runs, backup: request.backup };
    return { image: root.volume_id === null ? await this.#withVolumes(image, root, disks) : await this.#standingFor(image, root, devices, disks), disks, params };
  }

  /** How one disk is captured: the server's own becomes the image, a volume gets a snapshot. */
  async #wanted(server: ServerTable, device: BlockDeviceTable, { image, how }: { image: Image; how: Pick<CaptureFacts, "guest" | "only" | "requiresQuiesce"> }): Promise<Wanted> {
    const { db, pools, config } = this.#context;
    const volume = device.volume_id === null ? undefined : await findVolume(db, device.volume_id);
    const disk = volume ? volume.disk_id : device.disk_id;
    if (!disk) throw new AppError("conflict", `Disk ${device.target} of server ${server.id} has no bytes.`);
    if (volume) pools.refuseWhileDown(volume.pool);
    const form = volume ? undefined : serverImageForm(config, image);
    const increments = volume ? {} : await incrementsOf(this.#context, device);
    const ways = await this.#parts.materialise.planCapture({ subject: { kind: "server", id: server.id }, disk: diskId(disk), form, ...increments, ...how });
    refuseWithoutWay(ways, device, how);
    const becomes = volume ? ({ kind: "snapshot", id: randomUUID() } as const) : ({ kind: "image", id: image.id } as const);
    return { device, volume, disk: { target: device.target, deviceId: device.id, volumeId: device.volume_id, ways, becomes, viewId: randomUUID() } };
  }

  /** The image of a server that boots from a volume: no bytes, but what is to be made of the snapshots. Its formats say nothing, and are those that Nova writes (nova/image/glance.py `_create_v2`). */
  async #standingFor(image: Image, root: BlockDeviceTable, devices: readonly BlockDeviceTable[], disks: readonly Wanted[]): Promise<Image> {
    const captured = new Map((await this.#mapped(disks)).map((device) => [device.target, device]));
    const mapped = devices.flatMap((device): MappedDevice[] => {
      const known = captured.get(device.target);
      return known ? [known] : device.source === "blank" ? [device] : [];
    });
    return { ...withMapping(image, root, mapped), diskFormat: "qcow2", containerFormat: "bare", minDiskGib: 0 };
  }

  /** An image with bytes of its own, which brings the volumes too that were captured with them: a server of it has all the disks. */
  async #withVolumes(image: Image, root: BlockDeviceTable, disks: readonly Wanted[]): Promise<Image> {
    const mapped = await this.#mapped(disks);
    return mapped.length > 0 ? withMapping(image, root, mapped) : image;
  }

  async #mapped(disks: readonly Wanted[]): Promise<MappedDevice[]> {
    const types = await volumeTypeNames(this.#context.db, disks.flatMap(({ volume }) => volume?.volume_type_id ?? []));
    return disks.flatMap(({ device, volume, disk }) => (volume ? [{ ...device, snapshotId: disk.becomes.id, volumeType: types.get(volume.volume_type_id) }] : []));
  }

  /** How the disks are read was decided for a guest that stands as it did `before`. */
  async #lock(trx: Database, caller: Caller, { id, vm_state: before }: ServerTable, action: ServerAction): Promise<void> {
    const { clock } = this.#context;
    const server = await this.#parts.servers.find(trx, caller, id);
    const { task } = SERVER_ACTIONS[action];
    if (!(await changeServerIn(trx, id, { from: [before], changes: { task_state: task, updated_at: clock.nowMs() } }))) throw refusedInState(action, server);
    await recordStart(trx, caller, server, { action, nowMs: clock.nowMs() });
  }

  async #recordSnapshot(trx: Database, caller: Caller, { wanted: { volume, disk }, image }: { wanted: Wanted; image: Image }): Promise<void> {
    if (!volume) return;
    const { from } = VOLUME_TRANSITIONS.snapshotInUse;
    if (!(await lockVolumeIn(trx, volume.id, from))) throw new AppError("conflict", `Volume ${volume.id} is ${volume.status}, and must be ${orList(from)}.`);
    const type = (await volumeTypeNames(trx, [volume.volume_type_id])).get(volume.volume_type_id) ?? "";
    await this.#parts.quotas.take(trx, volume.project_id, snapshotQuota(volume.size_bytes, type)).catch((error) => Promise.reject(asForbidden(error)));
    const nowMs = this.#context.clock.nowMs();
    await insertSnapshot(trx, {
      id: disk.becomes.id,
      volume_id: volume.id,
      project_id: volume.project_id,
      user_id: caller.userId,
      name: derivedName(image.name ?? "", { before: "snapshot for " }),
      description: "",
      status: "creating",
      size_bytes: volume.size_bytes,
      disk_id: null,
      image_id: image.id,
      created_at: nowMs,
      updated_at: nowMs,
    });
  }

  /** A freeze that is sure to fail is refused at once. */
  async #refuseWithoutFreeze({ id }: ServerTable, guest: GuestStat | undefined, hasAgent: boolean): Promise<void> {
    const standing = standingOf(guest);
    const refusal = whyNoFreeze(standing, { hasAgent }) ?? (standing === "running" ? await this.#whyNoAnswer(id) : undefined);
    if (refusal !== undefined) throw notFrozen(refusal);
  }

  async #whyNoAnswer(id: string): Promise<string | undefined> {
    const { hypervisor, config } = this.#context;
    try {
      await hypervisor.agent(id, { execute: "guest-ping" }, { timeoutMs: config.servers.freezeMsMax });
      return undefined;
    } catch (error) {
      if (asAppError(error)?.code !== "agent_unavailable") throw error;
      return (error as Error).message;
    }
  }
}

/** `mica_disks=all`: the volumes of a server that boots from its own disk too, of the same instant. Nova leaves them out. 400 for anything else. */
function wantsAllDisks({ mica_disks: disks }: KeyValuePairs): boolean {
  if (disks !== undefined && disks !== "all") throw new AppError("bad_request", `The metadata's mica_disks is "${disks}", and can be: all.`);
  return disks === "all";
}

function withMapping(image: Image, root: BlockDeviceTable, mapped: readonly MappedDevice[]): Image {
  return { ...image, properties: { ...image.properties, bdm_v2: "True", block_device_mapping: mappingOf(mapped), root_device_name: `/dev/${root.target}` } };
}

import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { recordStart } from "#/app/server-history.ts";
import { operationOf } from "#/app/server-operations.ts";
import type { Servers } from "#/app/servers.ts";
import type { Volumes } from "#/app/volumes.ts";
import { devicesOf, findAttachment, insertDevice, updateDevice } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import type { VolumeTable } from "#/db/tables.ts";
import { changeVolumeIn } from "#/db/volumes.ts";
import { freeTarget, targetOf } from "#/domain/block-device.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { ATTACHABLE_STATES, refusedInState } from "#/domain/server.ts";
import { busOf } from "#/domain/server-image.ts";
import { invalidVolume } from "#/domain/volume.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { detachVolume } from "#/saga/detach-volume.ts";
import { swapVolume } from "#/saga/swap-volume.ts";

export interface AttachmentRequest {
  readonly volumeId: string;
  readonly device?: string | undefined;
  readonly tag?: string | undefined;
  readonly deleteOnTermination: boolean;
  /** From 2.20 on, shelved servers take volumes too. */
  readonly shelvedToo: boolean;
}

interface ServerVolumesParts {
  readonly servers: Servers;
  readonly volumes: Volumes;
}

/** The volumes of servers. */
export class ServerVolumes {
  readonly #context: AppContext;
  readonly #parts: ServerVolumesParts;

  constructor(context: AppContext, parts: ServerVolumesParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** In the order of attaching, the boot volume first. */
  async list(caller: Caller, serverId: string): Promise<BlockDeviceTable[]> {
    const { devices } = await this.#parts.servers.get(caller, serverId);
    return devices.filter(({ volume_id }) => volume_id !== null);
  }

  async get(caller: Caller, serverId: string, volumeId: string): Promise<BlockDeviceTable> {
    const device = (await this.list(caller, serverId)).find(({ volume_id }) => volume_id === volumeId);
    if (!device) throw notAttached(serverId, volumeId);
    return device;
  }

  /** Starts to give the volume to the server; its name is decided when this returns. 400, 403, 404 or 409 as Nova has it. */
  async attach(caller: Caller, serverId: string, request: AttachmentRequest): Promise<BlockDeviceTable> {
    requireRole(caller, "member", "attach volumes");
    const { db, clock, runner } = this.#context;
    const { operationId, device } = await db.transaction().execute(async (trx) => {
      const server = await this.#parts.servers.findUnlocked(trx, caller, serverId);
      const states = request.shelvedToo ? [...ATTACHABLE_STATES, "shelved", "shelved_offloaded"] : ATTACHABLE_STATES;
      if (!(states as string[]).includes(server.vm_state) || server.task_state !== null) throw refusedInState("attach_volume", server);
      const volume = await this.#parts.volumes.find(trx, caller, request.volumeId);
      await this.#reserve(trx, server, volume);
      const recorded = await this.#record(trx, server, volume, request);
      await recordStart(trx, caller, server, { action: "attach_volume", nowMs: clock.nowMs() });
      return { device: recorded, operationId: await runner.begin(trx, attachVolume, { serverId, deviceId: recorded.id }, operationOf(caller, server)) };
    });
    void runner.run(operationId);
    return device;
  }

  /** Starts to take the volume away. A root volume only from a server that is shelved away, as in Nova. */
  async detach(caller: Caller, serverId: string, volumeId: string): Promise<void> {
    requireRole(caller, "member", "detach volumes");
    const { db, clock, runner } = this.#context;
    const operationId = await db.transaction().execute(async (trx) => {
      const server = await this.#parts.servers.findUnlocked(trx, caller, serverId);
      const device = await findAttachment(trx, serverId, volumeId);
      if (!device) throw notAttached(serverId, volumeId);
      refuseDetaching(server, device);
      if (!(await changeVolumeIn(trx, volumeId, { from: ["in-use"], changes: { status: "detaching", updated_at: clock.nowMs() } }))) {
        throw invalidVolume(`Volume ${volumeId} is not in use: it is being attached or detached.`);
      }
      await updateDevice(trx, device.id, { state: "detaching" });
      await recordStart(trx, caller, server, { action: "detach_volume", nowMs: clock.nowMs() });
      return runner.begin(trx, detachVolume, { serverId, deviceId: device.id }, operationOf(caller, server));
    });
    void runner.run(operationId);
  }

  /** Starts to move the server from one volume to another of the same size, with its content. 400 where that cannot be. */
  async swap(caller: Caller, serverId: string, volumeId: string, newVolumeId: string): Promise<void> {
    requireRole(caller, "admin", "swap volumes");
    const { db, clock, runner } = this.#context;
    const operationId = await db.transaction().execute(async (trx) => {
      const server = await this.#parts.servers.findUnlocked(trx, caller, serverId);
      if (!["active", "paused"].includes(server.vm_state) || server.task_state !== null) throw refusedInState("swap_volume", server);
      const device = await findAttachment(trx, serverId, volumeId);
      if (!device) throw notAttached(serverId, volumeId);
      const [old, target] = [await this.#parts.volumes.find(trx, caller, volumeId), await this.#parts.volumes.find(trx, caller, newVolumeId)];
      if (target.size_bytes !== old.size_bytes) throw invalidVolume("New volume must be of the size of the one that it takes the place of.");
      await this.#reserve(trx, server, target);
      const changes = { status: "detaching", updated_at: clock.nowMs() };
      if (!(await changeVolumeIn(trx, volumeId, { from: ["in-use"], changes }))) throw invalidVolume(`Volume ${volumeId} is not in use: it is being attached or detached.`);
      await recordStart(trx, caller, server, { action: "swap_volume", nowMs: clock.nowMs() });
      return runner.begin(trx, swapVolume, { serverId, deviceId: device.id, oldVolumeId: volumeId, newVolumeId }, operationOf(caller, server));
    });
    void runner.run(operationId);
  }

  async setDeleteOnTermination(caller: Caller, serverId: string, volumeId: string, deleteOnTermination: boolean): Promise<void> {
    requireRole(caller, "member", "change attachments");
    const { db } = this.#context;
    await this.#parts.servers.findUnlocked(db, caller, serverId);
    const device = await findAttachment(db, serverId, volumeId);
    if (!device) throw notAttached(serverId, volumeId);
    await updateDevice(db, device.id, { delete_on_termination: Number(deleteOnTermination) });
  }

  async #reserve(trx: Database, server: ServerTable, volume: VolumeTable): Promise<void> {
    if (await findAttachment(trx, server.id, volume.id)) throw invalidVolume(`volume ${volume.id} already attached`);
    const from = volume.multiattach === 1 ? ["available", "in-use"] : ["available"];
    const changes = { status: "reserved", updated_at: this.#context.clock.nowMs() };
    if (await changeVolumeIn(trx, volume.id, { from, changes })) return;
    throw invalidVolume(`volume '${volume.id}' status must be 'available'. Currently in '${volume.status}' status.`);
  }

  async #record(trx: Database, server: ServerTable, volume: VolumeTable, { device, tag, deleteOnTermination }: AttachmentRequest): Promise<BlockDeviceTable> {
    const others = await devicesOf(trx, server.id);
    const { attachedDevicesMax } = this.#context.config.servers;
    if (attachedDevicesMax >= 0 && others.length >= attachedDevicesMax) {
      throw new AppError("forbidden", `The maximum allowed number of disk devices (${attachedDevicesMax}) to attach to a single instance has been exceeded.`);
    }
    const taken = new Set(others.map(({ target }) => target));
    if (device && taken.has(targetOf(device))) throw new AppError("bad_request", `The supplied device path (${device}) is in use.`);
    const bus = busOf(JSON.parse(server.image_properties), "disk");
    // A server that is shelved away may have given up its root volume: it boots from what it is given in its place.
    const isRoot = volume.bootable === 1 && others.every(({ boot_index }) => boot_index !== 0);
    const row: BlockDeviceTable = {
      id: randomUUID(),
      server_id: server.id,
      source: "volume",
      destination: "volume",
      source_id: volume.id,
      volume_id: volume.id,
      disk_id: null,
      size_bytes: volume.size_bytes,
      target: freeTarget(bus, taken),
      bus,
      kind: "disk",
      boot_index: isRoot ? 0 : null,
      guest_format: null,
      tag: tag ?? null,
      delete_on_termination: Number(deleteOnTermination),
      made_volume: 0,
      state: "attaching",
      created_at: this.#context.clock.nowMs(),
    };
    await insertDevice(trx, row);
    return row;
  }
}

function refuseDetaching(server: ServerTable, device: BlockDeviceTable): void {
  const isAway = server.vm_state === "shelved_offloaded";
  if (device.boot_index === 0 && !isAway) throw new AppError("forbidden", "Cannot detach a root device volume");
  if ((!ATTACHABLE_STATES.includes(server.vm_state) && !isAway && server.vm_state !== "shelved") || server.task_state !== null) throw refusedInState("detach_volume", server);
}

/** 404 in Nova's words. */
function notAttached(serverId: string, volumeId: string): AppError {
  return new AppError("not_found", `Instance ${serverId} is not attached to volume ${volumeId}`);
}

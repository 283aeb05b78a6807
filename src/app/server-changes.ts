import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { findVisibleImage } from "#/app/find-image.ts";
import type { Flavors } from "#/app/flavors.ts";
import type { Keypairs } from "#/app/keypairs.ts";
import type { Materialise } from "#/app/materialise.ts";
import { newPassword } from "#/app/new-password.ts";
import type { Quotas } from "#/app/quotas.ts";
import { recordDone } from "#/app/server-history.ts";
import { operationOf, startAction } from "#/app/server-operations.ts";
import type { Servers } from "#/app/servers.ts";
import { devicesOf } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, serverMetadata } from "#/db/key-values.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { changeServerIn, updateServer } from "#/db/servers.ts";
import { findVolume } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import { giveBack, serverQuota } from "#/domain/quota.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { refusedInState, SERVER_ACTIONS, type ServerAction, type ServerFlavor } from "#/domain/server.ts";
import { imageFormOf } from "#/domain/server-capture.ts";
import { refuseServerImage } from "#/domain/server-image.ts";
import { GiB } from "#/lib/units.ts";
import { rebuildServer } from "#/saga/rebuild-server.ts";
import { rescueServer } from "#/saga/rescue-server.ts";
import { resizeServer } from "#/saga/resize-server.ts";
import { unrescueServer } from "#/saga/unrescue-server.ts";

/** What a rebuilt server gets beside its new disk; only what is given changes. */
export interface RebuildRequest {
  readonly imageId: string;
  readonly name?: string | undefined;
  /** Undefined: made. */
  readonly adminPassword?: string | undefined;
  readonly description?: string | null | undefined;
  readonly hostname?: string | undefined;
  readonly metadata?: KeyValuePairs | undefined;
  /** Null takes the key away. */
  readonly keyName?: string | null | undefined;
  readonly userData?: string | null | undefined;
  /** From 2.93 on, the volume that a server boots from is made anew too. */
  readonly volumesToo: boolean;
}

interface ServerChangesParts {
  readonly servers: Servers;
  readonly flavors: Pick<Flavors, "get">;
  readonly keypairs: Pick<Keypairs, "get">;
  readonly quotas: Pick<Quotas, "take">;
  readonly materialise: Pick<Materialise, "planServerDisk" | "planVolumeAnew">;
}

/** What changes servers in depth: their flavor, and what they boot from. Each starts an operation. */
export class ServerChanges {
  readonly #context: AppContext;
  readonly #parts: ServerChangesParts;

  constructor(context: AppContext, parts: ServerChangesParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** Makes the root disk anew from an image. 400 where the image does not fit, or before 2.93 the server boots from a volume of another image. The administrator's password, where it may be told. */
  async rebuild(caller: Caller, id: string, request: RebuildRequest): Promise<string | undefined> {
    requireRole(caller, "member", "rebuild servers");
    const { db } = this.#context;
    const before = await this.#parts.servers.findUnlocked(db, caller, id);
    const flavor: ServerFlavor = JSON.parse(before.flavor);
    const image = await this.#image(caller, request.imageId);
    const root = await rootOf(db, before);
    refuseServerImage(image, flavor, { localRoot: root.volume_id === null });
    const oldDiskId = root.disk_id ?? (await findVolume(db, root.volume_id ?? ""))?.disk_id;
    if (!oldDiskId) throw refusedInState("rebuild", before);
    if (root.volume_id && !request.volumesToo) throw new AppError("bad_request", "Unable to rebuild with a different image for a volume-backed server.");
    const plan = root.volume_id ? await this.#parts.materialise.planVolumeAnew(root.volume_id, image.id) : await this.#planRoot(image, flavor.diskGib);
    const params = {
      serverId: id,
      deviceId: root.id,
      volumeId: root.volume_id,
      plan,
      newDiskId: randomUUID(),
      oldDiskId,
      before: { imageId: before.image_id, properties: before.image_properties, form: before.image_form },
      after: { imageId: image.id, properties: JSON.stringify(image.properties), form: JSON.stringify(imageFormOf(image)) },
      vmState: before.vm_state,
    };
    const changes = await this.#identityChanges(caller, request);
    return this.#startWithPassword(caller, id, { action: "rebuild", asked: request.adminPassword }, async (trx, server) => {
      if (await isOtherwise(trx, server, { ...params, root })) throw new AppError("conflict", `Instance ${id}, or the volume that it boots from, is being changed.`);
      await updateServer(trx, id, changes);
      if (request.metadata) await serverMetadata.replace(trx, id, request.metadata);
      return this.#context.runner.begin(trx, rebuildServer, params, { ...operationOf(caller, server), plan });
    });
  }

  /** Gives another flavor. 400 for the same one, or one with a smaller disk; 403 beyond the quota. */
  async resize(caller: Caller, id: string, flavorId: string): Promise<void> {
    requireRole(caller, "member", "resize servers");
    const { id: newId, name, vcpus, ramMib, diskGib, ephemeralGib, swapMib, extraSpecs } = await orBadRequest(this.#parts.flavors.get(caller, flavorId), "Unable to locate requested flavor.");
    const flavor: ServerFlavor = { id: newId, name, vcpus, ramMib, diskGib, ephemeralGib, swapMib, extraSpecs };
    await this.#start(caller, id, "resize", async (trx, server) => {
      const old: ServerFlavor = JSON.parse(server.flavor);
      const root = await rootOf(trx, server);
      refuseFlavor(old, flavor, root);
      const isLarger = root.disk_id !== null && flavor.diskGib * GiB > root.size_bytes;
      const grown = isLarger && root.disk_id ? { deviceId: root.id, diskId: root.disk_id, sizeBytes: flavor.diskGib * GiB } : null;
      return this.#changeFlavor(trx, caller, { server, flavor, isReverting: false, root: grown });
    });
  }

  async confirmResize(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "resize servers");
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      const server = await this.#parts.servers.findUnlocked(trx, caller, id);
      const changes = { vm_state: server.previous_vm_state ?? "active", previous_vm_state: null, previous_flavor: null, updated_at: clock.nowMs() };
      if (!(await changeServerIn(trx, id, { from: SERVER_ACTIONS.confirmResize.from, changes }))) throw refusedInState("confirmResize", server);
      await recordDone(trx, caller, server, { action: "confirmResize", nowMs: clock.nowMs() });
    });
  }

  async revertResize(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "resize servers");
    await this.#start(caller, id, "revertResize", async (trx, server) => {
      const flavor: ServerFlavor = JSON.parse(server.previous_flavor ?? server.flavor);
      return this.#changeFlavor(trx, caller, { server, flavor, isReverting: true, root: null });
    });
  }

  /** Boots from a disk of an image: the given one, else the server's own. The administrator's password meanwhile, where it may be told. */
  async rescue(caller: Caller, id: string, { imageId, adminPassword }: { readonly imageId?: string | undefined; readonly adminPassword?: string | undefined } = {}): Promise<string | undefined> {
    requireRole(caller, "member", "rescue servers");
    const before = await this.#parts.servers.findUnlocked(this.#context.db, caller, id);
    const chosen = imageId ?? before.image_id;
    if (!chosen) throw new AppError("bad_request", "The server boots from a volume and has no image of its own: name one with rescue_image_ref.");
    const image = await this.#image(caller, chosen);
    const plan = await this.#planRoot(image, 0);
    return this.#startWithPassword(caller, id, { action: "rescue", asked: adminPassword }, (trx, server) =>
      this.#context.runner.begin(trx, rescueServer, { serverId: id, imageId: image.id, deviceId: randomUUID(), plan, vmState: server.vm_state }, { ...operationOf(caller, server), plan }),
    );
  }

  async unrescue(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "rescue servers");
    await this.#start(caller, id, "unrescue", (trx, server) => this.#context.runner.begin(trx, unrescueServer, { serverId: id }, operationOf(caller, server)));
  }

  async #start(caller: Caller, id: string, action: ServerAction, begin: (trx: Database, server: ServerTable) => Promise<OperationId>): Promise<void> {
    await startAction(this.#context, this.#parts.servers, { caller, id, action }, begin);
  }

  /** The config drive that is made next tells the password, which is nowhere else. */
  async #startWithPassword(caller: Caller, id: string, { action, asked }: { action: ServerAction; asked: string | undefined }, begin: (trx: Database, server: ServerTable) => Promise<OperationId>) {
    const password = asked ?? newPassword();
    await startAction(this.#context, this.#parts.servers, { caller, id, action }, begin, { password });
    return this.#context.config.servers.enableInstancePassword ? password : undefined;
  }

  async #changeFlavor(
    trx: Database,
    caller: Caller,
    { server, flavor, isReverting, root }: { server: ServerTable; flavor: ServerFlavor; isReverting: boolean; root: { deviceId: string; diskId: string; sizeBytes: number } | null },
  ) {
    const old: ServerFlavor = JSON.parse(server.flavor);
    await addQuotaUsage(trx, server.project_id, giveBack(serverQuota(old)));
    await this.#parts.quotas.take(trx, server.project_id, serverQuota(flavor));
    const newFlavor = JSON.stringify(flavor);
    await updateServer(trx, server.id, { flavor: newFlavor });
    const runs = isReverting ? server.previous_vm_state !== "stopped" : server.vm_state === "active";
    const params = { serverId: server.id, oldFlavor: server.flavor, newFlavor, isReverting, runs, root };
    return this.#context.runner.begin(trx, resizeServer, params, operationOf(caller, server));
  }

  #planRoot(image: Image, diskGib: number) {
    const { imagesType, useCowImages } = this.#context.config.servers;
    const sizeBytes = diskGib === 0 ? undefined : diskGib * GiB;
    return this.#parts.materialise.planServerDisk({ source: { kind: "image", id: image.id }, sizeBytes, imagesType, useCowImages });
  }

  async #image(caller: Caller, id: string): Promise<Image> {
    const image = await orBadRequest(findVisibleImage(this.#context.db, caller, id), `Cannot find image ${id}.`);
    if (image.status !== "active") throw new AppError("bad_request", `Image ${id} is not active.`);
    return image;
  }

  async #identityChanges(caller: Caller, { name, description, hostname, keyName, userData }: RebuildRequest): Promise<Partial<ServerTable>> {
    const key = keyName ? await orBadRequest(this.#parts.keypairs.get(caller, keyName), "Invalid key_name provided.") : undefined;
    return {
      fault: null,
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(hostname !== undefined && { hostname }),
      ...(keyName !== undefined && { key_name: key?.name ?? null, key_data: key?.publicKey ?? null }),
      ...(userData !== undefined && { user_data: userData }),
    };
  }
}

async function rootOf(db: Database, server: ServerTable): Promise<BlockDeviceTable> {
  const root = (await devicesOf(db, server.id)).find(({ boot_index }) => boot_index === 0);
  if (!root) throw refusedInState("change", server);
  return root;
}

/** Whether the server changed while the rebuild was planned, or something is being done to the volume that it boots from: a swap, an extension, an upload. */
async function isOtherwise(trx: Database, server: ServerTable, { root, oldDiskId, vmState }: { root: BlockDeviceTable; oldDiskId: string; vmState: string }): Promise<boolean> {
  const now = await rootOf(trx, server);
  const volume = now.volume_id ? await findVolume(trx, now.volume_id) : undefined;
  const isBusy = volume !== undefined && volume.status !== "in-use";
  return isBusy || now.volume_id !== root.volume_id || (now.disk_id ?? volume?.disk_id) !== oldDiskId || server.vm_state !== vmState;
}

function refuseFlavor(old: ServerFlavor, flavor: ServerFlavor, root: BlockDeviceTable): void {
  if (old.id === flavor.id) throw new AppError("bad_request", "When resizing, instances must change flavor!");
  if (root.volume_id !== null) return;
  if (flavor.diskGib !== 0 && flavor.diskGib * GiB < root.size_bytes) throw new AppError("bad_request", "Resize to a flavor with a smaller disk is not possible: disks do not shrink.");
  if (flavor.diskGib === 0 && old.diskGib !== 0) throw new AppError("bad_request", "Resize to zero disk flavor is not allowed.");
}

async function orBadRequest<T>(found: Promise<T>, message: string): Promise<T> {
  return found.catch((cause) => {
    if (asAppError(cause)?.code !== "not_found") throw cause;
    throw new AppError("bad_request", message, { cause });
  });
}

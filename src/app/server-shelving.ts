import { randomUUID } from "node:crypto";
import { refuseWithoutWay } from "#/app/capture-method.ts";
import type { AppContext } from "#/app/context.ts";
import type { Materialise } from "#/app/materialise.ts";
import { insertServerImage, newServerImage } from "#/app/new-server-image.ts";
import { onlyMethod } from "#/app/open-volume.ts";
import { serverImageForm, shelvedImageFormat } from "#/app/server-image-form.ts";
import { operationOf, startAction } from "#/app/server-operations.ts";
import type { Servers } from "#/app/servers.ts";
import { devicesOf } from "#/db/block-devices.ts";
import { findImage } from "#/db/images.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { derivedName } from "#/domain/derived-name.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import { refusedInState, refuseUnlessIn, statusOf, type VmState } from "#/domain/server.ts";
import type { CaptureFacts } from "#/planner/capture.ts";
import { offloadServer } from "#/saga/offload-server.ts";
import type { CapturedDisk } from "#/saga/captured-disk.ts";
import { type ShelveServer, shelveServer } from "#/saga/shelve-server.ts";
import { type RootAnew, unshelveServer } from "#/saga/unshelve-server.ts";

interface ServerShelvingParts {
  readonly servers: Pick<Servers, "findUnlocked">;
  readonly materialise: Pick<Materialise, "planCapture" | "planServerDisk">;
}

interface Decided {
  readonly params: ShelveServer;
  /** Undefined where the server boots from a volume. */
  readonly image?: Image;
}

/** How the guest stands when its disk is read: one that runs is shut down first, and one whose memory is kept somewhere keeps it until the image is there. */
const GUEST_OF: Readonly<Partial<Record<VmState, CaptureFacts["guest"]>>> = { paused: "paused", suspended: "suspended" };

/** Takes servers out of use, into images of their disks, and brings them back. Each starts an operation. */
export class ServerShelving {
  readonly #context: AppContext;
  readonly #parts: ServerShelvingParts;

  constructor(context: AppContext, parts: ServerShelvingParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** Ends the guest, and makes the image `NAME-shelved` of its own disk. 409 where the server's state does not allow it, or changes meanwhile. */
  async shelve(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "shelve servers");
    const before = await this.#parts.servers.findUnlocked(this.#context.db, caller, id);
    refuseUnlessIn(before, "shelve");
    const { image, params } = await this.#decide(caller, before);
    const plan = params.disks[0]?.ways[0];
    await startAction(this.#context, this.#parts.servers, { caller, id, action: "shelve" }, async (trx, server) => {
      if (server.vm_state !== before.vm_state) throw refusedInState("shelve", server);
      if (image) await insertServerImage(trx, image, server);
      return this.#context.runner.begin(trx, shelveServer, params, { ...operationOf(caller, server), plan });
    });
  }

  /** Takes a shelved server off its host, which keeps it no longer; for admins, as in Nova. 409 where it is not on one. */
  async offload(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "admin", "take shelved servers off their hosts");
    await startAction(this.#context, this.#parts.servers, { caller, id, action: "shelveOffload" }, (trx, server) =>
      this.#context.runner.begin(trx, offloadServer, { serverId: id }, operationOf(caller, server)),
    );
  }

  /** Puts the server on its host again, and starts it. `hasPlace`: the request says where. 409 where its image or its root volume is gone, or where it is on a host and is told another place. */
  async unshelve(caller: Caller, id: string, { hasPlace = false } = {}): Promise<void> {
    requireRole(caller, "member", "shelve servers");
    const before = await this.#parts.servers.findUnlocked(this.#context.db, caller, id);
    refuseUnlessIn(before, "unshelve");
    if (hasPlace && before.vm_state !== "shelved_offloaded") throw onItsHost(before);
    const root = await this.#planRoot(before);
    await startAction(this.#context, this.#parts.servers, { caller, id, action: "unshelve" }, async (trx, server) => {
      if (server.vm_state !== before.vm_state) throw refusedInState("unshelve", server);
      return this.#context.runner.begin(trx, unshelveServer, { serverId: id, vmState: server.vm_state, root }, { ...operationOf(caller, server), plan: root?.plan });
    });
  }

  async #decide(caller: Caller, server: ServerTable): Promise<Decided> {
    const { db, config } = this.#context;
    const root = (await devicesOf(db, server.id)).find(({ boot_index }) => boot_index === 0);
    if (!root) throw refusedInState("shelve", server);
    const runs = ["active", "paused"].includes(server.vm_state);
    // The guest is going away, and has no file systems to freeze: it has shut down, or cannot be asked.
    const params = { serverId: server.id, vmState: server.vm_state, shelves: true, hasAgent: false, requiresQuiesce: false, runs };
    if (root.volume_id !== null) return { params: { ...params, imageId: null, disks: [], offloads: true } };
    const image = await newServerImage(this.#context, caller, server, { name: derivedName(server.name, { after: "-shelved" }), root, own: {}, diskFormat: shelvedImageFormat(config) });
    const disk = await this.#planImage(server, root, image);
    return { image, params: { ...params, imageId: image.id, disks: [disk], offloads: config.servers.shelvedOffloadMs === 0 } };
  }

  async #planImage(server: ServerTable, root: BlockDeviceTable, image: Image): Promise<CapturedDisk> {
    const { config } = this.#context;
    const only = onlyMethod(config.servers);
    if (!root.disk_id) throw new AppError("conflict", `Disk ${root.target} of server ${server.id} has no bytes.`);
    const ways = await this.#parts.materialise.planCapture({
      subject: { kind: "server", id: server.id },
      disk: diskId(root.disk_id),
      form: serverImageForm(config, image),
      mayReadThrough: true,
      remembers: false,
      guest: GUEST_OF[server.vm_state] ?? "off",
      only,
    });
    refuseWithoutWay(ways, root, { only });
    return { target: root.target, deviceId: root.id, volumeId: null, ways, becomes: { kind: "image", id: image.id }, viewId: randomUUID() };
  }

  /** Null where the server has all of its disks. 409 where it has none to boot from. */
  async #planRoot(server: ServerTable): Promise<RootAnew | null> {
    const { db, config } = this.#context;
    const root = (await devicesOf(db, server.id)).find(({ boot_index }) => boot_index === 0);
    if (!root) throw new AppError("conflict", `Instance ${server.id} has nothing to boot from: its root volume was detached. Attach that, or another bootable volume, first.`);
    if (root.volume_id !== null || root.disk_id !== null) return null;
    const image = await findImage(db, server.shelved_image_id ?? "");
    // nova/exception.py UnshelveException, which Nova's users find as the fault of a server in error.
    if (!image?.disk_id) throw new AppError("conflict", `Unshelve attempted but the image ${server.shelved_image_id} cannot be found.`);
    if (image.status !== "active") throw new AppError("conflict", `Unshelve attempted but the image ${image.id} is ${image.status}.`);
    const { imagesType, useCowImages } = config.servers;
    return { deviceId: root.id, newDiskId: randomUUID(), plan: await this.#parts.materialise.planServerDisk({ source: { kind: "image", id: image.id }, imagesType, useCowImages }) };
  }
}

/** 409 in Nova's words (exception.UnshelveInstanceInvalidState). */
function onItsHost({ id, vm_state: vmState, task_state: taskState }: ServerTable): AppError {
  const status = statusOf({ vmState, taskState });
  return new AppError("conflict", `Specifying an availability zone or a host when unshelving server "${id}" with status "${status}" is not supported, instance status must be "SHELVED_OFFLOADED".`);
}

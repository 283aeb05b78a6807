import type { AppContext } from "#/app/context.ts";
import { imageFormOf } from "#/app/image-form.ts";
import type { Materialise } from "#/app/materialise.ts";
import { onlyMethod, standingOf } from "#/app/open-volume.ts";
import { baseForm, capturedDevices, serverImageForm, serverImageFormat } from "#/app/server-image-form.ts";
import { type LastCapture, LastCaptures } from "#/app/last-captures.ts";
import { incrementsOf } from "#/app/previous-images.ts";
import type { Servers } from "#/app/servers.ts";
import { planUpload } from "#/app/upload-plans.ts";
import { devicesOf } from "#/db/block-devices.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import type { VolumeTable } from "#/db/tables.ts";
import { findVolume } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { refusedInState, SERVER_ACTIONS, statusOf } from "#/domain/server.ts";
import { quiesceWishes, whyBeyondQuiesce } from "#/domain/server-capture.ts";
import { VOLUME_TRANSITIONS } from "#/domain/volume.ts";
import { type CaptureWay, captureWays, type ClosedMethod, closedMethods, type PlannedDisk } from "#/planner/capture-ways.ts";
import type { CapturedGuest } from "#/planner/consistency.ts";
import type { Plan } from "#/planner/plan.ts";

/** All that an operator or user can know beforehand of images of one server. */
export interface ExplainedServer {
  readonly server: { readonly id: string; readonly name: string; readonly status: string };
  readonly guest: CapturedGuest & { readonly requiresQuiesce: boolean };
  readonly calls: readonly CaptureCall[];
}

/** A call that makes an image, with every way that it could go. */
export interface CaptureCall {
  readonly call: "createImage" | "uploadToImage";
  /** Of createImage: the volumes too, of a server that boots from its own disk (`mica_disks=all`). */
  readonly allDisks: boolean;
  /** Of an upload: the volume. */
  readonly volumeId: string | null;
  /** The guest's names for the disks that are captured. */
  readonly disks: readonly string[];
  /** `snapshots`: the image has no bytes of its own, and stands for snapshots of the volumes. */
  readonly becomes: "raw" | "qcow2" | "vmdk" | "vdi" | "ami" | "snapshots";
  /** Why the call would be refused now. */
  readonly refusal: string | null;
  /** The best first, which is the one that is taken. */
  readonly ways: readonly (CaptureWay & { readonly last: LastCapture | null })[];
  readonly closed: readonly ClosedMethod[];
}

interface Parts {
  readonly servers: Pick<Servers, "find">;
  readonly materialise: Pick<Materialise, "planCapture" | "planImage">;
}

interface Seen {
  readonly server: ServerTable;
  readonly root: BlockDeviceTable | undefined;
  readonly devices: readonly BlockDeviceTable[];
  readonly guest: ExplainedServer["guest"];
}

/** Formats of uploads that are compared: the two of the Cinder command's users. */
const UPLOAD_FORMATS = ["raw", "qcow2"] as const;

/** What images of a server would cost and be worth, by each call and method, and what the last ones really did. Does nothing. */
export class ServerCaptures {
  readonly #context: AppContext;
  readonly #parts: Parts;
  readonly #last: LastCaptures;

  constructor(context: AppContext, parts: Parts) {
    this.#context = context;
    this.#parts = parts;
    this.#last = new LastCaptures(context);
  }

  /** 404 where the server is none of the caller's project, unless an admin asks. */
  async explain(caller: Caller, id: string): Promise<ExplainedServer> {
    const seen = await this.#look(caller, id);
    const uploads = seen.devices.flatMap((device) => (device.volume_id === null ? [] : UPLOAD_FORMATS.map((format) => ({ device, volumeId: device.volume_id as string, format }))));
    const volumesBeside = seen.root?.volume_id === null && uploads.length > 0;
    const ofServer = [await this.#ofServer(seen, false), ...(volumesBeside ? [await this.#ofServer(seen, true)] : [])];
    const calls = [...ofServer, ...(await Promise.all(uploads.map((upload) => this.#ofVolume(seen, upload))))];
    const { server, guest } = seen;
    return { server: { id, name: server.name, status: statusOf({ vmState: server.vm_state, taskState: server.task_state }) }, guest, calls };
  }

  /** What createImage would begin with: of a server that boots from a volume, how that is given a snapshot. Errors as for the call itself. */
  async plan(caller: Caller, id: string): Promise<Plan> {
    const seen = await this.#look(caller, id);
    const refusal = whyNotNow(seen);
    if (refusal !== undefined) throw new AppError("conflict", refusal);
    const [plan] = (await this.#plannedDisks(seen, false))[0]?.ways ?? [];
    if (!plan) throw refusedInState("createImage", seen.server);
    return plan;
  }

  async #look(caller: Caller, id: string): Promise<Seen> {
    requireRole(caller, "member", "make images of servers");
    const { db, hypervisor, config } = this.#context;
    const server = await this.#parts.servers.find(db, caller, id);
    const devices = await devicesOf(db, id);
    const stat = await hypervisor.stat(id);
    const guest = {
      ...quiesceWishes(JSON.parse(server.image_properties)),
      state: standingOf(stat),
      shutDown: stat?.state === "shutoff" && stat.reason === "shutdown",
      agentConnected: stat?.agentConnected ?? false,
      freezeMsMax: config.servers.freezeMsMax,
    };
    return { server, devices, root: devices.find(({ boot_index }) => boot_index === 0), guest };
  }

  async #ofServer(seen: Seen, allDisks: boolean): Promise<CaptureCall> {
    const { root, server } = seen;
    const becomes = !root || root.volume_id !== null ? "snapshots" : await this.#formatOf(server, root);
    const call = { call: "createImage", allDisks, volumeId: null, disks: [], becomes, ways: [], closed: [] } as const;
    const refusal = whyNotNow(seen) ?? null;
    try {
      const disks = refusal === null ? await this.#plannedDisks(seen, allDisks) : [];
      return { ...call, refusal, disks: disks.map(({ target }) => target), ...(await this.#waysOf({ server: server.id }, disks, seen)) };
    } catch (error) {
      return { ...call, refusal: messageOf(error) };
    }
  }

  async #ofVolume(seen: Seen, { device, volumeId, format }: { device: BlockDeviceTable; volumeId: string; format: (typeof UPLOAD_FORMATS)[number] }): Promise<CaptureCall> {
    const call = { call: "uploadToImage", allDisks: false, volumeId, disks: [device.target], becomes: format, ways: [], closed: [] } as const;
    try {
      const volume = await findVolume(this.#context.db, volumeId);
      const refusal = volume ? this.#whyNoUpload(volume) : `Volume ${volumeId} is gone.`;
      if (!volume || refusal !== undefined) return { ...call, refusal: refusal ?? null };
      const ways = await planUpload(this.#context, this.#parts.materialise, volume, imageFormOf(this.#context.config, { diskFormat: format, containerFormat: "bare" }));
      return { ...call, refusal: null, ...(await this.#waysOf({ volume: volumeId, format }, [{ target: device.target, ways }], seen)) };
    } catch (error) {
      return { ...call, refusal: messageOf(error) };
    }
  }

  #whyNoUpload({ status }: VolumeTable): string | undefined {
    if (!(VOLUME_TRANSITIONS.uploadInUse.from as readonly string[]).includes(status)) return `The volume is ${status}.`;
    const needsForce = !(VOLUME_TRANSITIONS.upload.from as readonly string[]).includes(status);
    return needsForce && !this.#context.config.enableForceUpload ? `The volume is ${status}, and enableForceUpload is off: it can be uploaded only when it is detached.` : undefined;
  }

  async #waysOf(of: Parameters<LastCaptures["of"]>[0], disks: readonly PlannedDisk[], { guest }: Seen): Promise<Pick<CaptureCall, "ways" | "closed">> {
    const last = await this.#last.of(of);
    return { ways: captureWays(disks, guest).map((way) => ({ ...way, last: last(way.methods) ?? null })), closed: closedMethods(disks) };
  }

  /** As `ServerImages.create` plans them. */
  async #plannedDisks({ server, root, devices, guest }: Seen, all: boolean): Promise<PlannedDisk[]> {
    if (!root) throw refusedInState("createImage", server);
    const how = { subject: { kind: "server", id: server.id }, guest: guest.state, only: onlyMethod(this.#context.config.servers), requiresQuiesce: guest.requiresQuiesce } as const;
    const format = root.volume_id === null ? await this.#formatOf(server, root) : undefined;
    const rootForm = format && serverImageForm(this.#context.config, { diskFormat: format });
    return Promise.all(
      capturedDevices(root, devices, { all }).map(async ({ id, target, volume_id, disk_id }) => {
        const disk = volume_id === null ? disk_id : (await findVolume(this.#context.db, volume_id))?.disk_id;
        if (!disk) throw new AppError("conflict", `Disk ${target} of server ${server.id} has no bytes.`);
        const form = volume_id === null ? rootForm : undefined;
        return { target, ways: await this.#parts.materialise.planCapture({ ...how, disk: diskId(disk), form, ...(form && (await incrementsOf(this.#context, { id }))) }) };
      }),
    );
  }

  async #formatOf(server: ServerTable, root: BlockDeviceTable) {
    return baseForm(server)?.diskFormat === "ami" ? "ami" : serverImageFormat(this.#context, root);
  }
}

function whyNotNow({ server, guest }: Seen): string | undefined {
  const isRefused = server.task_state !== null || !(SERVER_ACTIONS.createImage.from as readonly string[]).includes(server.vm_state);
  if (isRefused) return refusedInState("createImage", server).message;
  const missing = guest.requiresQuiesce ? whyNoFreeze(guest) : undefined;
  return missing && `Its image says os_require_quiesce, and ${missing}.`;
}

function whyNoFreeze({ state, hasAgent, agentConnected }: Seen["guest"]): string | undefined {
  if (state !== "running") return whyBeyondQuiesce(state);
  if (!hasAgent) return "does not say hw_qemu_guest_agent=yes";
  return agentConnected ? undefined : "the agent in the guest is not there";
}

/** A defect is not told to users. */
function messageOf(error: unknown): string {
  const known = asAppError(error);
  if (!known) throw error;
  return known.message;
}

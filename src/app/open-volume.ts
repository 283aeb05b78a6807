import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import type { CaptureRequest, Materialise } from "#/app/materialise.ts";
import type { Config } from "#/config/schema.ts";
import { attachmentsOf } from "#/db/block-devices.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { findServer } from "#/db/servers.ts";
import type { VolumeTable } from "#/db/tables.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { notFrozen, quiesceWishes, whyNoFreeze } from "#/domain/server-capture.ts";
import type { CaptureFacts } from "#/planner/capture.ts";
import type { Plan } from "#/planner/plan.ts";
import type { CaptureServer } from "#/saga/capture-server.ts";
import type { CapturedDisk } from "#/saga/captured-disk.ts";
import { unlessAway } from "#/saga/open-in-guest.ts";
import type { GuestStat } from "#/vm/driver.ts";

/** A volume that a guest has open, which may write to it at any moment. */
export interface OpenVolume {
  readonly device: BlockDeviceTable;
  readonly guest: "running" | "paused";
  readonly wishes: ReturnType<typeof quiesceWishes>;
}

/** Undefined where no guest runs that has the volume, several have, or nobody can say. */
export async function findOpenVolume({ db, hypervisor }: Pick<AppContext, "db" | "hypervisor">, { id }: Pick<VolumeTable, "id">): Promise<OpenVolume | undefined> {
  const [device, ...others] = (await attachmentsOf(db, [id])).get(id) ?? [];
  if (!device || others.length > 0 || device.state !== "attached") return undefined;
  const server = await findServer(db, device.server_id);
  const guest = standingOf(await hypervisor.stat(device.server_id).catch(unlessAway));
  if (!server || (guest !== "running" && guest !== "paused")) return undefined;
  return { device, guest, wishes: quiesceWishes(JSON.parse(server.image_properties)) };
}

/** How a volume will be captured. */
export interface VolumeCapture {
  readonly plan: Plan;
  /** The saga's parameters, for what it is to become. */
  as(becomes: CapturedDisk["becomes"]): Omit<CaptureServer, "imageId">;
}

type Where = Pick<CaptureRequest, "form" | "store" | "pool">;

/** Plans it under its guest, which is never stopped for a volume. `conflict` where there is no way, or its file systems must be frozen and surely cannot be. */
export async function planOpenVolume({ config }: Pick<AppContext, "config">, materialise: Pick<Materialise, "planCapture">, { device, guest, wishes }: OpenVolume, { volume, where }: { volume: VolumeTable; where: Where }): Promise<VolumeCapture> {
  if (!volume.disk_id) throw new AppError("conflict", `Volume ${volume.id} has no bytes.`);
  const unfrozen = wishes.requiresQuiesce ? whyNoFreeze(guest, wishes) : undefined;
  if (unfrozen !== undefined) throw notFrozen(unfrozen);
  const only = onlyMethod(config.servers);
  const facts = { subject: { kind: "volume", id: volume.id }, disk: diskId(volume.disk_id), guest, only: only === "cold" ? undefined : only } as const;
  const ways = (await materialise.planCapture({ ...facts, ...where })).filter(({ capture }) => capture?.method !== "cold");
  const [plan] = ways;
  if (!plan) throw new AppError("conflict", `Volume ${volume.id} cannot be captured while its server runs.`);
  const disk = { target: device.target, deviceId: device.id, volumeId: volume.id, ways, viewId: randomUUID() };
  return { plan, as: (becomes) => ({ serverId: device.server_id, disks: [{ ...disk, becomes }], ...wishes, runs: true }) };
}

export function standingOf(guest: GuestStat | undefined): CaptureFacts["guest"] {
  return guest?.state === "running" || guest?.state === "paused" || guest?.state === "suspended" ? guest.state : "off";
}

export function onlyMethod({ captureMethod }: Config["servers"]): CaptureFacts["only"] {
  return captureMethod === "auto" ? undefined : captureMethod;
}

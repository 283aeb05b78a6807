import assert from "node:assert/strict";
import { insertDevice } from "#/db/block-devices.ts";
import type { AttachVolume } from "#/saga/attach-volume.ts";
import { someContent } from "./saga-world.ts";
import { newDevice, type ServerWorld } from "./server-world.ts";

/** A volume on its way to a running server. */
export type Attachment = AttachVolume & { readonly volumeId: string };

/** A running server with one disk, and a volume that is reserved for it. */
export async function reserve(world: ServerWorld): Promise<Attachment> {
  const content = someContent();
  const serverId = await world.addRunning(content);
  const volumeId = await world.sagas.addVolume({ status: "reserved" }, content);
  const device = newDevice({ server_id: serverId, source: "volume", destination: "volume", target: "vdb", volume_id: volumeId });
  await insertDevice(world.db, device);
  return { serverId, deviceId: device.id, volumeId };
}

async function targets(world: ServerWorld, serverId: string): Promise<string[]> {
  const guest = await world.sagas.services.hypervisor.stat(serverId);
  return (guest?.disks ?? []).map(({ target }) => target).filter((target) => target.startsWith("vd"));
}

export async function assertAttached(world: ServerWorld, { serverId, volumeId }: Attachment): Promise<void> {
  const volume = await world.sagas.volume(volumeId);
  assert.deepEqual([volume?.status, volume?.attach_status], ["in-use", "attached"]);
  assert.deepEqual(await targets(world, serverId), ["vda", "vdb"]);
  assert.equal((await world.devices(serverId)).find(({ target }) => target === "vdb")?.state, "attached");
  await world.sagas.assertAuditClean();
}

export async function assertFree(world: ServerWorld, { serverId, volumeId }: Attachment): Promise<void> {
  const volume = await world.sagas.volume(volumeId);
  assert.deepEqual([volume?.status, volume?.attach_status], ["available", "detached"]);
  assert.deepEqual(await targets(world, serverId), ["vda"]);
  assert.equal((await world.devices(serverId)).length, 1);
  await world.sagas.assertAuditClean();
}

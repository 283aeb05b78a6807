import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Materialise } from "#/app/materialise.ts";
import { updateServer } from "#/db/servers.ts";
import { diskId } from "#/domain/ids.ts";
import type { VmState } from "#/domain/server.ts";
import { powerServer } from "#/saga/power-server.ts";
import { type ShelveServer, shelveServer } from "#/saga/shelve-server.ts";
import type { UnshelveServer } from "#/saga/unshelve-server.ts";
import type { ServerWorld } from "./server-world.ts";

const ACTION = { active: undefined, paused: "pause", stopped: "os-stop", suspended: "suspend" } as const;

/** A server that is to be shelved, with its image queued, as the API leaves it for the saga. */
export async function shelving(world: ServerWorld, content: Buffer, { vmState = "active", offloads = true, sizeBytes = content.length }: { vmState?: keyof typeof ACTION; offloads?: boolean; sizeBytes?: number } = {}) {
  const serverId = await world.addRunning(content, sizeBytes);
  const action = ACTION[vmState];
  if (action) await world.run(powerServer, { serverId, action });
  await updateServer(world.db, serverId, { task_state: "shelving" });
  const [device] = await world.devices(serverId);
  assert.ok(device?.disk_id);
  const imageId = await world.sagas.addQueuedImage("raw");
  const guest = vmState === "paused" || vmState === "suspended" ? vmState : "off";
  const ways = await new Materialise(world.sagas.services).planCapture({ subject: { kind: "server", id: serverId }, disk: diskId(device.disk_id), form: { diskFormat: "raw" }, mayReadThrough: true, remembers: false, guest });
  const disk = { target: "vda", deviceId: device.id, volumeId: null, ways, becomes: { kind: "image", id: imageId } as const, viewId: randomUUID() };
  const runs = vmState === "active" || vmState === "paused";
  return { serverId, imageId, disks: [disk], vmState, offloads, shelves: true, hasAgent: false, requiresQuiesce: false, runs } satisfies ShelveServer;
}

/** A server that is shelved, and what is to be done to bring it back. */
export async function unshelving(world: ServerWorld, content: Buffer, vmState: Extract<VmState, "shelved" | "shelved_offloaded">): Promise<UnshelveServer & { readonly imageId: string }> {
  const params = await shelving(world, content, { offloads: vmState === "shelved_offloaded" });
  const { serverId, imageId } = params;
  assert.equal((await world.run(shelveServer, params)).state, "done");
  await world.sagas.settle();
  await world.assertState(serverId, vmState);
  await updateServer(world.db, serverId, { task_state: "unshelving" });
  const [device] = await world.devices(serverId);
  assert.equal(device?.disk_id === null, vmState === "shelved_offloaded");
  const root = device?.disk_id === null ? { deviceId: device.id, newDiskId: randomUUID(), plan: await world.planDisk(imageId, content.length) } : null;
  return { serverId, imageId, vmState, root };
}

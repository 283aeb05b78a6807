import type { Database } from "#/db/database.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { type Finding, finding } from "./finding.ts";
import { openSubjects } from "./open-subjects.ts";

/** States in which a server has a guest that the hypervisor knows. */
const WITH_GUEST: readonly string[] = ["active", "stopped", "paused", "suspended", "rescued", "resized", "shelved"];
/** Statuses that a volume does not have while it is a server's. */
const FREE: readonly string[] = ["available", "reserved", "creating", "error", "deleting"];

/**
 * Holds the records of servers against their guests, disks and volumes, both ways. Guests are left out where the hypervisor does not
 * answer: what cannot be seen is not missing.
 */
export async function auditServers(db: Database, hypervisor: HypervisorDriver): Promise<Finding[]> {
  const busy = await openSubjects(db);
  return [...(await auditStates(db, busy)), ...(await auditGuests(db, hypervisor, busy)), ...(await auditDevices(db, busy)), ...(await auditHeldVolumes(db, busy))];
}

async function auditStates(db: Database, busy: ReadonlySet<string>): Promise<Finding[]> {
  const rows = await db.selectFrom("server").select(["id", "vm_state", "task_state"]).execute();
  return rows
    .filter(({ id, vm_state, task_state }) => !busy.has(id) && (task_state !== null || vm_state === "building"))
    .map(({ id, vm_state, task_state }) => finding("unfinished", `server ${id}`, `The server ${id} is ${task_state ?? vm_state}, and no operation works on it.`));
}

async function auditGuests(db: Database, hypervisor: HypervisorDriver, busy: ReadonlySet<string>): Promise<Finding[]> {
  const guests = await hypervisor.list().catch(() => undefined);
  if (!guests) return [];
  const servers = await db.selectFrom("server").select(["id", "vm_state"]).execute();
  const known = new Map(servers.map(({ id, vm_state }) => [id, vm_state]));
  const found = new Set(guests.map(({ id }) => id));
  const orphans = guests.filter(({ id }) => !busy.has(id) && !known.has(id));
  const lost = servers.filter(({ id, vm_state }) => !busy.has(id) && !found.has(id) && WITH_GUEST.includes(vm_state));
  return [
    ...orphans.map(({ id, state }) => finding("orphan_guest", `guest ${id}`, `The hypervisor has a guest of server ${id} (${state}), and there is no such server.`)),
    ...lost.map(({ id, vm_state }) => finding("lost_guest", `server ${id}`, `The server ${id} is ${vm_state}, and the hypervisor does not know its guest.`)),
  ];
}

/** Every device has its disk or its volume. */
async function auditDevices(db: Database, busy: ReadonlySet<string>): Promise<Finding[]> {
  const rows = await db
    .selectFrom("block_device")
    .innerJoin("server", "server.id", "block_device.server_id")
    .leftJoin("disk", "disk.id", "block_device.disk_id")
    .leftJoin("volume", "volume.id", "block_device.volume_id")
    .select(["block_device.id as id", "server_id", "target", "boot_index", "block_device.disk_id as disk_id", "volume_id", "vm_state", "disk.state as diskState", "volume.status as status"])
    .execute();
  return rows
    .filter(({ id, server_id, volume_id }) => !busy.has(id) && !busy.has(server_id) && !(volume_id && busy.has(volume_id)))
    .filter(({ vm_state, boot_index, disk_id }) => vm_state !== "error" && !(vm_state === "shelved_offloaded" && boot_index === 0 && disk_id === null)) // Its image has it, or its volume was taken away.
    .filter(({ volume_id, diskState, status }) => (volume_id ? FREE.includes(status ?? "deleting") : diskState !== "ready"))
    .map(({ server_id, target, volume_id, status }) => {
      const what = volume_id ? `the volume ${volume_id}, which is ${status ?? "gone"}` : "a disk, which is not whole";
      const kind = volume_id && status ? "wrong_status" : "dangling_record";
      return finding(kind, `device ${target} of server ${server_id}`, `The server ${server_id} has as ${target} ${what}.`);
    });
}

async function auditHeldVolumes(db: Database, busy: ReadonlySet<string>): Promise<Finding[]> {
  const rows = await db
    .selectFrom("volume")
    .leftJoin("block_device", "block_device.volume_id", "volume.id")
    .select(["volume.id as id", "status"])
    .where("attach_status", "=", "attached")
    .where("block_device.id", "is", null)
    .execute();
  return rows
    .filter(({ id }) => !busy.has(id))
    .map(({ id, status }) => finding("wrong_status", `attachment of volume ${id}`, `The volume ${id} is ${status}, and no server has it.`));
}

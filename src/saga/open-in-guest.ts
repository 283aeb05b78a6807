import type { Database } from "#/db/database.ts";
import { findDisk } from "#/db/disks.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { diskId, operationId } from "#/domain/ids.ts";
import type { SagaContext, SagaServices } from "#/saga/context.ts";
import type { Pool } from "#/storage/pool.ts";

/**
 * Refuses, with `conflict`, to give the bytes of a disk another name while a guest has it open: its QEMU would go on writing to what is a
 * snapshot's then, or nobody's. Pools that freeze and flatten in place let it pass. `hypervisor_unavailable` where nobody can say how the guest stands.
 */
export async function refuseWhileOpen(services: Pick<SagaServices, "db" | "pools" | "hypervisor">, disk: Pick<Disk, "id" | "pool">): Promise<void> {
  if (!renamesBytes(services.pools.get(disk.pool))) return;
  const serverId = await serverThatHasOpen(services, disk);
  if (serverId) throw new AppError("conflict", `Server ${serverId} has the disk open, and pool "${disk.pool}" cannot freeze or flatten it meanwhile: stop the server, detach the volume, or make a snapshot of it first.`);
}

/** The same for who reads all of a disk in a pool that cannot freeze it. */
export async function refuseWhileGuestRuns(services: Pick<SagaServices, "db" | "hypervisor">, disk: Pick<Disk, "id" | "pool">): Promise<void> {
  const serverId = await serverThatHasOpen(services, disk);
  if (serverId) throw new AppError("conflict", `Server ${serverId} has the disk open, and pool "${disk.pool}" cannot freeze it: stop the server, detach the volume, or make a snapshot of it first.`);
}

/** Whether a suspended guest has the disk. Where nobody can say, none. */
export async function isSuspended({ db, hypervisor }: Pick<SagaServices, "db" | "hypervisor">, id: string): Promise<boolean> {
  for (const serverId of await serversWith(db, id)) {
    if ((await hypervisor.stat(serverId).catch(unlessAway))?.state === "suspended") return true;
  }
  return false;
}

/** Whether the disk can be frozen neither now, since a suspended guest's saved memory knows where it is, nor otherwise. It lies still as long. */
export async function staysWithSavedMemory(services: Pick<SagaServices, "db" | "pools" | "hypervisor">, { id, pool: name }: Pick<Disk, "id" | "pool">): Promise<boolean> {
  const pool = services.pools.get(name);
  return (renamesBytes(pool) || !pool.can.snapshot) && isSuspended(services, id);
}

/** For answers that do without the hypervisor where it is away. */
export function unlessAway(error: unknown): undefined {
  if (asAppError(error)?.code !== "hypervisor_unavailable") throw error;
}

async function serverThatHasOpen({ db, hypervisor }: Pick<SagaServices, "db" | "hypervisor">, { id }: Pick<Disk, "id">): Promise<string | undefined> {
  for (const serverId of await serversWith(db, id)) {
    const guest = await hypervisor.stat(serverId);
    if (guest && guest.state !== "shutoff" && guest.state !== "crashed") return serverId;
  }
  return undefined;
}

/**
 * Keeps the bytes of disks where they are until the answer is disposed: while a guest is told where they are, and opens them. What would move them in the background is ended
 * first, and whoever is freezing one is waited for. They stay as deep as they are.
 */
export async function keepInPlace(context: SagaContext<object>, diskIds: readonly string[]): Promise<AsyncDisposable> {
  const movable = await movableOf(context, diskIds);
  for (const { id, parent } of movable) if (parent) await endFlattening(context, id);
  const held = new AsyncDisposableStack();
  for (const { id } of movable) held.use(await context.locks.take(id));
  return held;
}

/** Each once, in an order that is the same for all who hold several. */
async function movableOf({ db, pools }: SagaContext<object>, diskIds: readonly string[]): Promise<Disk[]> {
  const found = await Promise.all([...new Set(diskIds)].toSorted().map((id) => findDisk(db, diskId(id))));
  return found.filter((disk) => disk !== undefined).filter(({ pool }) => renamesBytes(pools.get(pool)));
}

async function endFlattening({ db, runner }: SagaContext<object>, id: string): Promise<void> {
  const open = await db.selectFrom("operation").select("id").where("saga", "=", "flatten-disk").where("subject_id", "=", id).where("ended_at", "is", null).execute();
  for (const operation of open) await runner.cancel(operationId(operation.id));
  await Promise.all(open.map((operation) => runner.run(operationId(operation.id))));
}

/** Clones that are files on files: the live disk is another file after a freeze, and after it was flattened. */
function renamesBytes({ can }: Pool): boolean {
  return can.clone === "dependent" && !can.snapshotReadsSource;
}

async function serversWith(db: Database, id: string): Promise<string[]> {
  const rows = await db
    .selectFrom("block_device")
    .leftJoin("volume", "volume.id", "block_device.volume_id")
    .select("server_id")
    .distinct()
    .where((eb) => eb.or([eb("block_device.disk_id", "=", id), eb("volume.disk_id", "=", id)]))
    .execute();
  return rows.map(({ server_id }) => server_id);
}

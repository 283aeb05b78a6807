import type { Database } from "#/db/database.ts";
import { findDisk } from "#/db/disks.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, operationId } from "#/domain/ids.ts";
import type { SagaContext, SagaServices } from "#/saga/context.ts";
import type { Pool } from "#/storage/pool.ts";

/**
 * Refuses, with `conflict`, to give the bytes of a disk another name while a guest has it open: its QEMU would go on writing to what is a
 * snapshot's then, or nobody's. Pools that freeze and flatten in place let it pass. `hypervisor_unavailable` where nobody can say how the guest stands.
 */
export async function refuseWhileOpen({ db, pools, hypervisor }: Pick<SagaServices, "db" | "pools" | "hypervisor">, disk: Pick<Disk, "id" | "pool">): Promise<void> {
  if (!renamesBytes(pools.get(disk.pool))) return;
  for (const serverId of await serversWith(db, disk.id)) {
    const guest = await hypervisor.stat(serverId);
    if (!guest || guest.state === "shutoff" || guest.state === "crashed") continue;
    throw new AppError("conflict", `Server ${serverId} has the disk open, and pool "${disk.pool}" cannot freeze or flatten it meanwhile: stop the server, or detach the volume.`);
  }
}

/** Ends what would move the bytes of disks in the background, before a guest opens them. They stay as deep as they are. */
export async function keepInPlace(context: SagaContext<object>, diskIds: readonly string[]): Promise<void> {
  for (const id of diskIds) {
    const disk = await findDisk(context.db, diskId(id));
    if (disk?.parent && renamesBytes(context.pools.get(disk.pool))) await endFlattening(context, id);
  }
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

import type { Disk, Holder } from "#/domain/disk.ts";
import { type DiskId, diskId, type PoolName, poolName } from "#/domain/ids.ts";
import type { Database } from "./database.ts";
import type { DiskTable } from "./tables.ts";

/** Records a disk that an operation is about to fill, and what it takes of its pool. Repeatable: the same id is recorded once. */
export async function insertDisk(trx: Database, disk: Omit<Disk, "state">, { reservedBytes, nowMs }: { reservedBytes: number; nowMs: number }): Promise<void> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto("disk")
    .values({
      id: disk.id,
      pool: disk.pool,
      format: disk.format,
      packed: disk.packed ?? null,
      virtual_size_bytes: disk.virtualSizeBytes,
      parent_id: disk.parent ?? null,
      location: disk.location ?? null,
      holder_kind: disk.holder.kind,
      holder_id: disk.holder.id,
      state: "filling",
      reserved_bytes: reservedBytes,
      created_at: nowMs,
    })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .executeTakeFirst();
  if (numInsertedOrUpdatedRows === 1n) await addUsage(trx, disk.pool, { provisioned: disk.virtualSizeBytes, reserved: reservedBytes });
}

export async function findDisk(db: Database, id: DiskId): Promise<Disk | undefined> {
  const row = await db.selectFrom("disk").selectAll().where("id", "=", id).executeTakeFirst();
  return row && toDisk(row);
}

/** The disk, which the caller knows to be recorded. */
export async function getDisk(db: Database, id: DiskId): Promise<Disk> {
  const disk = await findDisk(db, id);
  if (!disk) throw new Error(`Broken invariant: disk ${id} is not recorded`);
  return disk;
}

/** The disk is whole: its reservation ends, since its bytes now count as used. */
export async function setDiskReady(trx: Database, id: DiskId, facts: { virtualSizeBytes?: number; parent?: DiskId | undefined } = {}): Promise<void> {
  const row = await trx.selectFrom("disk").selectAll().where("id", "=", id).executeTakeFirst();
  if (!row) return;
  const virtualSizeBytes = facts.virtualSizeBytes ?? row.virtual_size_bytes;
  await trx
    .updateTable("disk")
    .set({ state: "ready", reserved_bytes: 0, virtual_size_bytes: virtualSizeBytes, ...("parent" in facts && { parent_id: facts.parent ?? null }) })
    .where("id", "=", id)
    .execute();
  await addUsage(trx, poolName(row.pool), { provisioned: virtualSizeBytes - row.virtual_size_bytes, reserved: -row.reserved_bytes });
}

export async function setDiskParent(trx: Database, id: DiskId, parent: DiskId | undefined): Promise<void> {
  await trx.updateTable("disk").set({ parent_id: parent ?? null }).where("id", "=", id).execute();
}

/** Gives the disk to another holder: the bytes stay. */
export async function setDiskHolder(trx: Database, id: DiskId, holder: Holder): Promise<void> {
  await trx.updateTable("disk").set({ holder_kind: holder.kind, holder_id: holder.id }).where("id", "=", id).execute();
}

export async function setDiskDeleting(trx: Database, id: DiskId): Promise<void> {
  await trx.updateTable("disk").set({ state: "deleting" }).where("id", "=", id).execute();
}

export async function removeDisk(trx: Database, id: DiskId): Promise<void> {
  const row = await trx.deleteFrom("disk").where("id", "=", id).returningAll().executeTakeFirst();
  if (row) await addUsage(trx, poolName(row.pool), { provisioned: -row.virtual_size_bytes, reserved: -row.reserved_bytes });
}

/** Promises the disk's operation more space, for content whose size was not known. */
export async function growReservation(trx: Database, id: DiskId, bytes: number): Promise<void> {
  const row = await trx
    .updateTable("disk")
    .set((eb) => ({ reserved_bytes: eb("reserved_bytes", "+", bytes) }))
    .where("id", "=", id)
    .returning("pool")
    .executeTakeFirst();
  if (row) await addUsage(trx, poolName(row.pool), { provisioned: 0, reserved: bytes });
}

/** A disk grows with its volume. */
export async function setDiskSize(trx: Database, id: DiskId, virtualSizeBytes: number): Promise<void> {
  const row = await trx.selectFrom("disk").select(["pool", "virtual_size_bytes"]).where("id", "=", id).executeTakeFirst();
  if (!row) return;
  await trx.updateTable("disk").set({ virtual_size_bytes: virtualSizeBytes }).where("id", "=", id).execute();
  await addUsage(trx, poolName(row.pool), { provisioned: virtualSizeBytes - row.virtual_size_bytes, reserved: 0 });
}

export async function hasChildren(db: Database, id: DiskId, { butFor = id }: { readonly butFor?: DiskId } = {}): Promise<boolean> {
  return (await db.selectFrom("disk").select("id").where("parent_id", "=", id).where("id", "!=", butFor).limit(1).executeTakeFirst()) !== undefined;
}

export async function disksOf(db: Database, holder: Holder): Promise<Disk[]> {
  const rows = await db.selectFrom("disk").selectAll().where("holder_kind", "=", holder.kind).where("holder_id", "=", holder.id).execute();
  return rows.map(toDisk);
}

/** How many disks this one reads through; 0 where it stands alone. Chains are as short as the pools' depth limits. */
export async function depthOf(db: Database, id: DiskId): Promise<number> {
  let depth = 0;
  for (let disk = await findDisk(db, id); disk?.parent; disk = await findDisk(db, disk.parent)) depth++;
  return depth;
}

export interface PoolUsage {
  readonly provisionedBytes: number;
  readonly reservedBytes: number;
}

export async function poolUsage(db: Database, pool: PoolName): Promise<PoolUsage> {
  const row = await db.selectFrom("pool_usage").selectAll().where("pool", "=", pool).executeTakeFirst();
  return { provisionedBytes: row?.provisioned_bytes ?? 0, reservedBytes: row?.reserved_bytes ?? 0 };
}

async function addUsage(trx: Database, pool: PoolName, { provisioned, reserved }: { provisioned: number; reserved: number }): Promise<void> {
  await trx
    .insertInto("pool_usage")
    .values({ pool, provisioned_bytes: provisioned, reserved_bytes: reserved })
    .onConflict((conflict) =>
      conflict.column("pool").doUpdateSet((eb) => ({
        provisioned_bytes: eb("pool_usage.provisioned_bytes", "+", provisioned),
        reserved_bytes: eb("pool_usage.reserved_bytes", "+", reserved),
      })),
    )
    .execute();
}

function toDisk(row: DiskTable): Disk {
  return {
    id: diskId(row.id),
    pool: poolName(row.pool),
    format: row.format,
    packed: row.packed ?? undefined,
    virtualSizeBytes: row.virtual_size_bytes,
    parent: row.parent_id === null ? undefined : diskId(row.parent_id),
    location: row.location ?? undefined,
    holder: { kind: row.holder_kind, id: row.holder_id },
    state: row.state,
  };
}

import type { Database } from "./database.ts";
import type { BlockDeviceTable } from "./server-tables.ts";

/** The disks of a server, those that it boots from first. */
export async function devicesOf(db: Database, serverId: string): Promise<BlockDeviceTable[]> {
  return (await devicesOfAll(db, [serverId])).get(serverId) ?? [];
}

/** Those of all the servers, in one query. */
export async function devicesOfAll(db: Database, serverIds: readonly string[]): Promise<Map<string, BlockDeviceTable[]>> {
  const found = new Map<string, BlockDeviceTable[]>();
  if (serverIds.length === 0) return found;
  const rows = await db
    .selectFrom("block_device")
    .selectAll()
    .where("server_id", "in", serverIds)
    .orderBy((eb) => eb.fn.coalesce("boot_index", eb.lit(1000)))
    .orderBy("created_at")
    .orderBy("target")
    .execute();
  for (const row of rows) found.getOrInsertComputed(row.server_id, () => []).push(row);
  return found;
}

export async function insertDevice(trx: Database, row: BlockDeviceTable): Promise<void> {
  await trx.insertInto("block_device").values(row).execute();
}

export async function findDevice(db: Database, id: string): Promise<BlockDeviceTable | undefined> {
  return db.selectFrom("block_device").selectAll().where("id", "=", id).executeTakeFirst();
}

/** The volume as a disk of the server. */
export async function findAttachment(db: Database, serverId: string, volumeId: string): Promise<BlockDeviceTable | undefined> {
  return db.selectFrom("block_device").selectAll().where("server_id", "=", serverId).where("volume_id", "=", volumeId).executeTakeFirst();
}

/** The attachments of the volumes, in one query; those that are not in the answer have none. */
export async function attachmentsOf(db: Database, volumeIds: readonly string[]): Promise<Map<string, BlockDeviceTable[]>> {
  const found = new Map<string, BlockDeviceTable[]>();
  if (volumeIds.length === 0) return found;
  const rows = await db.selectFrom("block_device").selectAll().where("volume_id", "in", volumeIds).orderBy("created_at").execute();
  for (const row of rows) if (row.volume_id) found.getOrInsertComputed(row.volume_id, () => []).push(row);
  return found;
}

export async function updateDevice(db: Database, id: string, changes: Partial<BlockDeviceTable>): Promise<void> {
  await db.updateTable("block_device").set(changes).where("id", "=", id).execute();
}

export async function removeDevice(db: Database, id: string): Promise<void> {
  await db.deleteFrom("block_device").where("id", "=", id).execute();
}

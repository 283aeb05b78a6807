import type { Expression, SqlBool } from "kysely";
import type { Database } from "./database.ts";
import { type KeyValuePairs, snapshotMetadata } from "./key-values.ts";
import { type PageRequest, pageOf } from "./page.ts";
import type { SnapshotTable } from "./tables.ts";
import { allOf, havingPairs, type RecordFilter, recordConditions } from "./volume-lists.ts";

export async function insertSnapshot(trx: Database, row: SnapshotTable): Promise<void> {
  await trx.insertInto("snapshot").values(row).execute();
}

export async function findSnapshot(db: Database, id: string): Promise<SnapshotTable | undefined> {
  return db.selectFrom("snapshot").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function updateSnapshot(db: Database, id: string, changes: Partial<SnapshotTable>): Promise<void> {
  await db.updateTable("snapshot").set(changes).where("id", "=", id).execute();
}

/** Changes the snapshot only while its status is one of `from`; the answer is the changed row, or undefined where it is not. */
export async function changeSnapshotIn(
  trx: Database,
  id: string,
  { from, changes }: { from: readonly string[]; changes: Partial<SnapshotTable> },
): Promise<SnapshotTable | undefined> {
  return trx.updateTable("snapshot").set(changes).where("id", "=", id).where("status", "in", from).returningAll().executeTakeFirst();
}

export async function removeSnapshot(db: Database, id: string): Promise<SnapshotTable | undefined> {
  return db.deleteFrom("snapshot").where("id", "=", id).returningAll().executeTakeFirst();
}

/** The snapshots of a volume, oldest first. */
export async function snapshotsOfVolume(db: Database, volumeId: string): Promise<SnapshotTable[]> {
  return db.selectFrom("snapshot").selectAll().where("volume_id", "=", volumeId).orderBy("created_at").orderBy("id").execute();
}

/** Those that the image stands for. */
export async function snapshotsOfImage(db: Database, imageId: string): Promise<SnapshotTable[]> {
  return db.selectFrom("snapshot").selectAll().where("image_id", "=", imageId).orderBy("id").execute();
}

/** What a list of snapshots is narrowed to; all of it must hold. */
export interface SnapshotFilter extends RecordFilter {
  /** Pairs that the snapshot's metadata has. */
  readonly metadata?: KeyValuePairs | undefined;
}

export const SNAPSHOT_SORT_COLUMNS: Readonly<Record<string, string>> = {
  id: "id",
  created_at: "created_at",
  updated_at: "updated_at",
  name: "name",
  display_name: "name",
  size: "size_bytes",
  status: "status",
  volume_id: "volume_id",
};

export async function listSnapshots(db: Database, filter: SnapshotFilter, page: PageRequest): Promise<SnapshotTable[]> {
  return pageOf(db.selectFrom("snapshot").selectAll().where(conditions(db, filter)), page).execute();
}

/** How many snapshots the filter leaves. It looks at each of them: only on request. */
export async function countSnapshots(db: Database, filter: SnapshotFilter): Promise<number> {
  const { count } = await db
    .selectFrom("snapshot")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where(conditions(db, filter))
    .executeTakeFirstOrThrow();
  return Number(count);
}

function conditions(db: Database, filter: SnapshotFilter): Expression<SqlBool> {
  return allOf([...recordConditions(filter), ...havingPairs(db, snapshotMetadata, filter.metadata)]);
}

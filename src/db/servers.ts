import type { TaskState, VmState } from "#/domain/server.ts";
import type { Database } from "./database.ts";
import type { BlockDeviceTable, ServerActionTable, ServerTable } from "./server-tables.ts";

export async function insertServer(trx: Database, row: ServerTable, devices: readonly BlockDeviceTable[]): Promise<void> {
  await trx.insertInto("server").values(row).execute();
  if (devices.length > 0) await trx.insertInto("block_device").values([...devices]).execute();
}

export async function findServer(db: Database, id: string): Promise<ServerTable | undefined> {
  return db.selectFrom("server").selectAll().where("id", "=", id).executeTakeFirst();
}

export async function updateServer(db: Database, id: string, changes: Partial<ServerTable>): Promise<void> {
  await db.updateTable("server").set(changes).where("id", "=", id).execute();
}

/** The same, with what is being done to the server now; null: nothing. One that is being deleted stays so, unless the changes say otherwise. */
export async function updateTask(db: Database, id: string, task: TaskState | null, changes: Partial<ServerTable> = {}): Promise<void> {
  await db
    .updateTable("server")
    .set((eb) => ({ task_state: eb.case().when("task_state", "=", "deleting").then(eb.ref("task_state")).else(eb.val(task)).end(), ...changes }))
    .where("id", "=", id)
    .execute();
}

/** Changes the server only while it is in one of the states and nothing is being done to it; the changed row, or undefined where it is not so. */
export async function changeServerIn(
  trx: Database,
  id: string,
  { from, changes }: { from: readonly VmState[]; changes: Partial<ServerTable> },
): Promise<ServerTable | undefined> {
  return trx.updateTable("server").set(changes).where("id", "=", id).where("vm_state", "in", from).where("task_state", "is", null).returningAll().executeTakeFirst();
}

/** Servers that are shelved on their host since before then, by their history, and whose disk is in an image that can be used. */
export async function shelvedLongerThan(db: Database, sinceMs: number): Promise<ServerTable[]> {
  return db
    .selectFrom("server")
    .selectAll("server")
    .innerJoin("image", "image.id", "server.shelved_image_id")
    .where("image.status", "=", "active")
    .where("vm_state", "=", "shelved")
    .where("task_state", "is", null)
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom("server_action").select("request_id").whereRef("server_id", "=", "server.id").where("action", "=", "shelve").where("finished_at", ">", sinceMs))),
    )
    .execute();
}

export async function removeServer(db: Database, id: string): Promise<ServerTable | undefined> {
  return db.deleteFrom("server").where("id", "=", id).returningAll().executeTakeFirst();
}

/** The tags of the servers, in order; one query. */
export async function serverTags(db: Database, ids: readonly string[]): Promise<Map<string, string[]>> {
  const tags = new Map<string, string[]>();
  if (ids.length === 0) return tags;
  const rows = await db.selectFrom("server_tag").selectAll().where("server_id", "in", ids).orderBy("tag").execute();
  for (const { server_id, tag } of rows) tags.getOrInsertComputed(server_id, () => []).push(tag);
  return tags;
}

export async function replaceServerTags(trx: Database, id: string, tags: readonly string[]): Promise<void> {
  await trx.deleteFrom("server_tag").where("server_id", "=", id).execute();
  if (tags.length > 0) await trx.insertInto("server_tag").values(tags.map((tag) => ({ server_id: id, tag }))).execute();
}

export async function recordAction(trx: Database, row: ServerActionTable): Promise<void> {
  await trx.insertInto("server_action").values(row).onConflict((conflict) => conflict.columns(["server_id", "request_id"]).doNothing()).execute();
}

/** How the newest action of the request ended. */
export async function finishAction(
  db: Database,
  { serverId, requestId }: { serverId: string; requestId: string },
  changes: Pick<ServerActionTable, "result" | "message" | "finished_at">,
): Promise<void> {
  await db.updateTable("server_action").set(changes).where("server_id", "=", serverId).where("request_id", "=", requestId).execute();
}

/** The history of a server, newest first. */
export async function actionsOfServer(db: Database, id: string): Promise<ServerActionTable[]> {
  return db.selectFrom("server_action").selectAll().where("server_id", "=", id).orderBy("started_at", "desc").orderBy("request_id").execute();
}

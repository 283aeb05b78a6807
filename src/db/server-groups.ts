import type { ServerGroup } from "#/domain/server-group.ts";
import type { Database } from "./database.ts";
import type { ServerGroupTable, ServerPlacementTable } from "./server-tables.ts";

export async function insertServerGroup(trx: Database, { group, nowMs }: { group: ServerGroup; nowMs: number }): Promise<void> {
  const { id, projectId, userId, name, policy, serversPerHostMax } = group;
  await trx.insertInto("server_group").values({ id, project_id: projectId, user_id: userId, name, policy, servers_per_host_max: serversPerHostMax, created_at: nowMs }).execute();
}

export async function findServerGroup(db: Database, id: string): Promise<ServerGroup | undefined> {
  const row = await db.selectFrom("server_group").selectAll().where("id", "=", id).executeTakeFirst();
  return row && groupOf(row);
}

/** The oldest first; of all projects where none is named. */
export async function listServerGroups(db: Database, { projectId, limit, offset }: { projectId: string | undefined; limit: number; offset: number }): Promise<ServerGroup[]> {
  let query = db.selectFrom("server_group").selectAll().orderBy("created_at").orderBy("id").limit(limit).offset(offset);
  if (projectId !== undefined) query = query.where("project_id", "=", projectId);
  return (await query.execute()).map(groupOf);
}

/** Its servers are in no group then. */
export async function removeServerGroup(trx: Database, id: string): Promise<void> {
  await trx.deleteFrom("server_group").where("id", "=", id).execute();
}

/** The ids of the groups' servers, the oldest first; one query. */
export async function membersOfGroups(db: Database, groupIds: readonly string[]): Promise<Map<string, string[]>> {
  const members = new Map<string, string[]>();
  if (groupIds.length === 0) return members;
  const rows = await db
    .selectFrom("server_placement")
    .innerJoin("server", "server.id", "server_placement.server_id")
    .select(["server_id", "group_id"])
    .where("group_id", "in", groupIds)
    .orderBy("server.created_at")
    .orderBy("server.id")
    .execute();
  for (const { server_id, group_id } of rows) members.getOrInsertComputed(group_id ?? "", () => []).push(server_id);
  return members;
}

export async function insertPlacements(trx: Database, rows: readonly ServerPlacementTable[]): Promise<void> {
  if (rows.length > 0) await trx.insertInto("server_placement").values([...rows]).execute();
}

/** What the servers' requests said of their place; one query. */
export async function placementsOf(db: Database, serverIds: readonly string[]): Promise<Map<string, ServerPlacementTable>> {
  if (serverIds.length === 0) return new Map();
  const rows = await db.selectFrom("server_placement").selectAll().where("server_id", "in", serverIds).execute();
  return new Map(rows.map((row) => [row.server_id, row]));
}

/** Those of the servers that a host runs, or would. */
export async function serversOnHost(db: Database, { ids, host }: { ids: readonly string[]; host: string }): Promise<string[]> {
  if (ids.length === 0) return [];
  const rows = await db.selectFrom("server").select("id").where("id", "in", ids).where("host", "=", host).where("vm_state", "!=", "shelved_offloaded").execute();
  return rows.map(({ id }) => id);
}

function groupOf({ id, project_id, user_id, name, policy, servers_per_host_max }: ServerGroupTable): ServerGroup {
  return { id, projectId: project_id, userId: user_id, name, policy, serversPerHostMax: servers_per_host_max };
}

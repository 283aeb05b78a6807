import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { Database } from "#/db/database.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { findServerGroup, insertServerGroup, listServerGroups, membersOfGroups, removeServerGroup } from "#/db/server-groups.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { giveBack, SERVER_GROUP_QUOTA } from "#/domain/quota.ts";
import { type ServerGroup, serverGroupNotFound } from "#/domain/server-group.ts";

export interface ServerGroupWithMembers extends ServerGroup {
  /** Ids of its servers. */
  readonly members: readonly string[];
}

export type NewServerGroup = Pick<ServerGroup, "name" | "policy" | "serversPerHostMax">;

/** Groups of servers that belong on one host, or on different ones. */
export class ServerGroups {
  readonly #context: AppContext;
  readonly #quotas: Quotas;

  constructor(context: AppContext, quotas: Quotas) {
    this.#context = context;
    this.#quotas = quotas;
  }

  async list(caller: Caller, { allProjects, limit, offset }: { allProjects: boolean; limit: number; offset: number }): Promise<ServerGroupWithMembers[]> {
    requireRole(caller, allProjects ? "admin" : "reader", "see server groups");
    const { db } = this.#context;
    const groups = await listServerGroups(db, { projectId: allProjects ? undefined : caller.projectId, limit, offset });
    return withMembers(db, groups);
  }

  /** 404 where there is none, or it is of another project and the caller no admin. */
  async get(caller: Caller, id: string): Promise<ServerGroupWithMembers> {
    requireRole(caller, "reader", "see server groups");
    const { db } = this.#context;
    const [group] = await withMembers(db, [await findVisibleGroup(db, caller, id)]);
    if (!group) throw new Error("Broken invariant: one group has one list of members");
    return group;
  }

  /** 403 beyond the quota. */
  async create(caller: Caller, asked: NewServerGroup): Promise<ServerGroupWithMembers> {
    requireRole(caller, "member", "create server groups");
    const { db, clock } = this.#context;
    const group: ServerGroup = { id: randomUUID(), projectId: caller.projectId, userId: caller.userId, ...asked };
    await db.transaction().execute(async (trx) => {
      await this.#quotas.take(trx, caller.projectId, SERVER_GROUP_QUOTA);
      await insertServerGroup(trx, { group, nowMs: clock.nowMs() });
    });
    return { ...group, members: [] };
  }

  /** Its servers stay. */
  async remove(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "delete server groups");
    await this.#context.db.transaction().execute(async (trx) => {
      const { projectId } = await findVisibleGroup(trx, caller, id);
      await removeServerGroup(trx, id);
      await addQuotaUsage(trx, projectId, giveBack(SERVER_GROUP_QUOTA));
    });
  }
}

export async function findVisibleGroup(db: Database, caller: Caller, id: string): Promise<ServerGroup> {
  const group = await findServerGroup(db, id);
  if (!group || (group.projectId !== caller.projectId && !isAdmin(caller))) throw serverGroupNotFound(id);
  return group;
}

async function withMembers(db: Database, groups: readonly ServerGroup[]): Promise<ServerGroupWithMembers[]> {
  const members = await membersOfGroups(db, groups.map(({ id }) => id));
  return groups.map((group) => ({ ...group, members: members.get(group.id) ?? [] }));
}

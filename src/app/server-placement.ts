import { hostname } from "node:os";
import type { Quotas } from "#/app/quotas.ts";
import { findVisibleGroup } from "#/app/server-groups.ts";
import type { Database } from "#/db/database.ts";
import { insertPlacements, membersOfGroups, serversOnHost } from "#/db/server-groups.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { UNLIMITED } from "#/domain/quota.ts";
import { noValidHost, refuseCrowding, refuseHintsNotOffered, type SchedulerHints, type ServerGroup } from "#/domain/server-group.ts";

interface Placing {
  readonly hints: SchedulerHints;
  readonly serverIds: readonly string[];
}

/**
 * Records what was said of where the new servers are to be, in their transaction. One host runs all servers: 400 where they may not be together with those
 * that it runs, or belong to a group that nobody has; 403 beyond the quota of a group's members.
 */
export async function placeServers(trx: Database, caller: Caller, quotas: Pick<Quotas, "limit">, { hints, serverIds }: Placing): Promise<void> {
  refuseHintsNotOffered(hints);
  await refuseNeighbours(trx, hints);
  const group = hints.group === undefined ? undefined : await groupNamed(trx, caller, hints.group);
  if (group) await refuseFullGroup(trx, quotas, group, serverIds.length);
  if (Object.keys(hints).length === 0) return;
  await insertPlacements(trx, serverIds.map((id) => ({ server_id: id, group_id: group?.id ?? null, hints: JSON.stringify(hints) })));
}

/** nova/scheduler/filters/affinity_filter.py. */
async function refuseNeighbours(trx: Database, { different_host = [], same_host = [] }: SchedulerHints): Promise<void> {
  const host = hostname();
  const [avoided] = await serversOnHost(trx, { ids: [different_host].flat(), host });
  if (avoided !== undefined) throw noValidHost(`server ${avoided} of different_host is on the one host that runs all servers`);
  const wanted = [same_host].flat();
  if (wanted.length > 0 && (await serversOnHost(trx, { ids: wanted, host })).length === 0) throw noValidHost("no host runs a server of same_host");
}

async function refuseFullGroup(trx: Database, quotas: Pick<Quotas, "limit">, group: ServerGroup, addedCount: number): Promise<void> {
  const count = ((await membersOfGroups(trx, [group.id])).get(group.id)?.length ?? 0) + addedCount;
  const max = await quotas.limit(trx, group.projectId, "server_group_members");
  if (max !== UNLIMITED && count > max) throw new AppError("server_quota_exceeded", "Quota exceeded, too many servers in group");
  refuseCrowding(group, count);
}

/** 400 in Nova's words. */
async function groupNamed(trx: Database, caller: Caller, id: string): Promise<ServerGroup> {
  return findVisibleGroup(trx, caller, id).catch((error) => {
    throw asAppError(error)?.code === "not_found" ? new AppError("bad_request", (error as AppError).message, { cause: error }) : error;
  });
}

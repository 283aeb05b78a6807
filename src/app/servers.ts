import type { AppContext } from "#/app/context.ts";
import { fetchPage, type ListRequest, listedProject, type Page, sortBy } from "#/app/lists.ts";
import { recordDone } from "#/app/server-history.ts";
import { devicesOfAll } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, serverMetadata } from "#/db/key-values.ts";
import { placementsOf } from "#/db/server-groups.ts";
import { listServers, SERVER_SORT_COLUMNS, type ServerFilter } from "#/db/server-lists.ts";
import type { BlockDeviceTable, ServerActionTable, ServerTable } from "#/db/server-tables.ts";
import { actionsOfServer, findServer, replaceServerTags, serverTags, updateServer } from "#/db/servers.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { serverLocked, serverNotFound } from "#/domain/server.ts";
import type { SchedulerHints } from "#/domain/server-group.ts";

/** A server's record with all that its user sees of it. */
export interface Server extends ServerTable {
  readonly metadata: KeyValuePairs;
  readonly tags: readonly string[];
  /** What its request said of where it is to be. */
  readonly hints: SchedulerHints;
  readonly groupId: string | null;
  /** Those that it boots from first. */
  readonly devices: readonly BlockDeviceTable[];
}

export interface ServerListRequest extends ListRequest {
  readonly filter: Omit<ServerFilter, "projectId">;
  /** For admins that ask for all projects. */
  readonly projectId?: string | undefined;
}

/** Only what is given changes. */
export interface ServerChanges {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly hostname?: string | undefined;
  readonly accessIpV4?: string | null | undefined;
  readonly accessIpV6?: string | null | undefined;
  readonly diskConfig?: "AUTO" | "MANUAL" | undefined;
}

/** Servers as records: what is there, and what changes without touching guests or bytes. */
export class Servers {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async list(caller: Caller, request: ServerListRequest): Promise<Page<Server>> {
    requireRole(caller, "reader", "list servers");
    const { db } = this.#context;
    const filter = { ...request.filter, projectId: listedProject(caller, request, request.projectId) };
    const marker = request.marker === undefined ? undefined : await this.#marker(caller, request.marker);
    const { records, more } = await fetchPage(request, { sort: sortBy(request.sort, SERVER_SORT_COLUMNS), marker }, (page) => listServers(db, filter, page));
    return { records: await withServerDetails(db, records), more };
  }

  /** 404 where there is none, or it is of another project and the caller no admin. */
  async get(caller: Caller, id: string): Promise<Server> {
    requireRole(caller, "reader", "see servers");
    const { db } = this.#context;
    return detailsOf(db, await this.find(db, caller, id));
  }

  /** The server's row; 404 as for `get`. */
  async find(db: Database, caller: Caller, id: string): Promise<ServerTable> {
    const row = await findServer(db, id);
    if (!row || (row.project_id !== caller.projectId && !isAdmin(caller))) throw serverNotFound(id);
    return row;
  }

  /** The same for those who change it: 409 where somebody has locked it. */
  async findUnlocked(db: Database, caller: Caller, id: string): Promise<ServerTable> {
    const row = await this.find(db, caller, id);
    if (row.locked_by !== null && !isAdmin(caller)) throw serverLocked(id);
    return row;
  }

  async update(caller: Caller, id: string, { name, description, hostname, accessIpV4, accessIpV6, diskConfig }: ServerChanges): Promise<Server> {
    requireRole(caller, "member", "change servers");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    await updateServer(db, id, {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(hostname !== undefined && { hostname }),
      ...(accessIpV4 !== undefined && { access_ip_v4: accessIpV4 }),
      ...(accessIpV6 !== undefined && { access_ip_v6: accessIpV6 }),
      ...(diskConfig !== undefined && { disk_config: diskConfig }),
      updated_at: clock.nowMs(),
    });
    return this.get(caller, id);
  }

  /** Adds the pairs to those that are there (`merge`), or puts them in the place of all (`replace`); gives them all. */
  async changeMetadata(caller: Caller, id: string, how: "merge" | "replace", pairs: KeyValuePairs): Promise<KeyValuePairs> {
    await this.#change(caller, id, (trx) => serverMetadata[how](trx, id, pairs));
    return serverMetadata.of(this.#context.db, id);
  }

  /** 404 where there is none of that name. */
  async removeMetadata(caller: Caller, id: string, name: string): Promise<void> {
    await this.#change(caller, id, async (trx) => {
      if (!(await serverMetadata.remove(trx, id, name))) throw new AppError("not_found", "Metadata item was not found");
    });
  }

  /** Puts the tags in the place of all. */
  async setTags(caller: Caller, id: string, tags: readonly string[]): Promise<void> {
    await this.#change(caller, id, (trx) => replaceServerTags(trx, id, tags));
  }

  /** Nobody but admins changes a locked server; its owner may unlock what an owner has locked. */
  async lock(caller: Caller, id: string, reason: string | null): Promise<void> {
    requireRole(caller, "member", "lock servers");
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      const server = await this.find(trx, caller, id);
      const lockedBy = caller.projectId === server.project_id && !isAdmin(caller) ? "owner" : "admin";
      await updateServer(trx, id, { locked_by: lockedBy, locked_reason: reason });
      await recordDone(trx, caller, server, { action: "lock", nowMs: clock.nowMs() });
    });
  }

  async unlock(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "unlock servers");
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      const server = await this.find(trx, caller, id);
      if (server.locked_by === "admin") requireRole(caller, "admin", "unlock servers that an administrator has locked");
      await updateServer(trx, id, { locked_by: null, locked_reason: null });
      await recordDone(trx, caller, server, { action: "unlock", nowMs: clock.nowMs() });
    });
  }

  /** Writes a state into the record, for an admin who knows better. */
  async resetState(caller: Caller, id: string, state: "active" | "error"): Promise<void> {
    requireRole(caller, "admin", "reset the state of servers");
    const { db, clock } = this.#context;
    await this.find(db, caller, id);
    await updateServer(db, id, { vm_state: state, task_state: null, updated_at: clock.nowMs() });
  }

  /** What was asked for of the server, newest first; also of one that is gone, for as long as it is kept. */
  async actions(caller: Caller, id: string): Promise<ServerActionTable[]> {
    requireRole(caller, "reader", "see the history of servers");
    const { db } = this.#context;
    const actions = await actionsOfServer(db, id);
    const isOwn = actions[0]?.project_id === caller.projectId || isAdmin(caller);
    if (actions.length === 0 || !isOwn) await this.find(db, caller, id);
    return actions;
  }

  async #change(caller: Caller, id: string, change: (trx: Database) => Promise<unknown>): Promise<void> {
    requireRole(caller, "member", "change servers");
    const { db, clock } = this.#context;
    await db.transaction().execute(async (trx) => {
      await this.findUnlocked(trx, caller, id);
      await change(trx);
      await updateServer(trx, id, { updated_at: clock.nowMs() });
    });
  }

  async #marker(caller: Caller, id: string): Promise<ServerTable> {
    const row = await findServer(this.#context.db, id);
    if (!row || (row.project_id !== caller.projectId && !isAdmin(caller))) throw new AppError("bad_request", `marker [${id}] not found`);
    return row;
  }
}

/** The servers with metadata, tags and disks: three queries, however many they are. */
export async function withServerDetails(db: Database, rows: readonly ServerTable[]): Promise<Server[]> {
  const ids = rows.map(({ id }) => id);
  const [metadata, tags, devices] = [await serverMetadata.ofAll(db, ids), await serverTags(db, ids), await devicesOfAll(db, ids)];
  const placements = await placementsOf(db, ids);
  return rows.map((row) => {
    const { hints = "{}", group_id: groupId = null } = placements.get(row.id) ?? {};
    return { ...row, metadata: metadata.get(row.id) ?? {}, tags: tags.get(row.id) ?? [], devices: devices.get(row.id) ?? [], hints: JSON.parse(hints), groupId };
  });
}

async function detailsOf(db: Database, row: ServerTable): Promise<Server> {
  const [server] = await withServerDetails(db, [row]);
  if (!server) throw new Error("Broken invariant: one row has one server");
  return server;
}

import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { refuseUnknownProject } from "#/app/known-project.ts";
import { fetchPage, type ListRequest, type Page, sortBy } from "#/app/lists.ts";
import type { Database } from "#/db/database.ts";
import {
  describeFlavor,
  FLAVOR_SORT_COLUMNS,
  findFlavor,
  findFlavorByName,
  findFlavorRow,
  grantFlavor,
  insertFlavor,
  listFlavors,
  mayUseFlavor,
  projectsOfFlavor,
  removeFlavor,
  revokeFlavor,
} from "#/db/flavors.ts";
import { flavorExtraSpecs, type KeyValuePairs } from "#/db/key-values.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { type Flavor, flavorNotFound, flavorSpecNotFound } from "#/domain/flavor.ts";

export interface NewFlavor extends Omit<Flavor, "id" | "createdAtMs" | "updatedAtMs"> {
  /** Undefined: one is made. */
  readonly id: string | undefined;
}

export interface FlavorListRequest extends ListRequest {
  /** "all" is for admins. */
  readonly isPublic: boolean | "all";
  readonly name?: string | undefined;
  readonly diskGibMin?: number | undefined;
  readonly ramMibMin?: number | undefined;
}

/** Flavors: how large a server may be. Admins keep them; others see public ones and private ones they were given. */
export class Flavors {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async list(caller: Caller, request: FlavorListRequest): Promise<Page<Flavor>> {
    requireRole(caller, "reader", "list flavors");
    const { db } = this.#context;
    const asked = isAdmin(caller) ? request.isPublic : true;
    const filter = { ...request, isPublic: asked === "all" ? undefined : asked, accessibleTo: asked === true ? caller.projectId : undefined };
    const marker = request.marker === undefined ? undefined : await findFlavorRow(db, request.marker);
    if (request.marker !== undefined && !marker) throw new AppError("bad_request", `marker [${request.marker}] not found`);
    return fetchPage(request, { sort: sortBy(request.sort, FLAVOR_SORT_COLUMNS), marker }, (page) => listFlavors(db, filter, page));
  }

  /** The flavor, which the caller may use; 404 otherwise. */
  async get(caller: Caller, id: string): Promise<Flavor> {
    requireRole(caller, "reader", "see flavors");
    const { db } = this.#context;
    const flavor = await findFlavor(db, id);
    if (flavor && (flavor.isPublic || isAdmin(caller) || (await mayUseFlavor(db, id, caller.projectId)))) return flavor;
    throw flavorNotFound(id);
  }

  /** A private flavor is nobody's at first, not even of its maker's project, as in Nova. */
  async create(caller: Caller, { id = randomUUID(), ...fields }: NewFlavor): Promise<Flavor> {
    requireRole(caller, "admin", "create flavors");
    const now = this.#context.clock.nowMs();
    const flavor = { ...fields, id, createdAtMs: now, updatedAtMs: now };
    await this.#context.db.transaction().execute(async (trx) => {
      await refuseTaken(trx, flavor);
      await insertFlavor(trx, flavor);
    });
    return flavor;
  }

  async describe(caller: Caller, id: string, description: string | null): Promise<Flavor> {
    requireRole(caller, "admin", "change flavors");
    await describeFlavor(this.#context.db, id, description, this.#context.clock.nowMs());
    return this.get(caller, id);
  }

  /** Servers keep what they were made as. */
  async remove(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "admin", "delete flavors");
    if (!(await removeFlavor(this.#context.db, id))) throw flavorNotFound(id);
  }

  async setExtraSpecs(caller: Caller, id: string, pairs: KeyValuePairs): Promise<void> {
    requireRole(caller, "admin", "change extra specs");
    await this.#context.db.transaction().execute(async (trx) => {
      await mustFind(trx, id);
      await flavorExtraSpecs.merge(trx, id, pairs);
    });
  }

  async removeExtraSpec(caller: Caller, id: string, name: string): Promise<void> {
    requireRole(caller, "admin", "change extra specs");
    await this.#context.db.transaction().execute(async (trx) => {
      await mustFind(trx, id);
      if (!(await flavorExtraSpecs.remove(trx, id, name))) throw flavorSpecNotFound(id, name);
    });
  }

  /** The projects that may use the private flavor; 404 for a public one. */
  async projectsOf(caller: Caller, id: string): Promise<string[]> {
    requireRole(caller, "admin", "see who may use a flavor");
    const { db } = this.#context;
    const { isPublic } = await mustFind(db, id);
    if (isPublic) throw new AppError("not_found", "Access list not available for public flavors.");
    return projectsOfFlavor(db, id);
  }

  /** The projects that may use the flavor now. */
  async grant(caller: Caller, id: string, projectId: string): Promise<string[]> {
    await this.#changeAccess(caller, id, projectId, async (trx, { isPublic }) => {
      if (isPublic) throw new AppError("conflict", "Can not add access to a public flavor.");
      if (await grantFlavor(trx, id, projectId)) return;
      throw new AppError("conflict", `Flavor access already exists for flavor ${id} and project ${projectId} combination.`);
    });
    return projectsOfFlavor(this.#context.db, id);
  }

  async revoke(caller: Caller, id: string, projectId: string): Promise<string[]> {
    await this.#changeAccess(caller, id, projectId, async (trx) => {
      if (await revokeFlavor(trx, id, projectId)) return;
      throw new AppError("not_found", `Flavor access not found for ${id} / ${projectId} combination.`);
    });
    return projectsOfFlavor(this.#context.db, id);
  }

  async #changeAccess(caller: Caller, id: string, projectId: string, change: (trx: Database, flavor: Flavor) => Promise<void>): Promise<void> {
    requireRole(caller, "admin", "change who may use a flavor");
    await this.#context.db.transaction().execute(async (trx) => {
      const flavor = await mustFind(trx, id);
      await refuseUnknownProject(trx, projectId);
      await change(trx, flavor);
    });
  }
}

async function mustFind(db: Database, id: string): Promise<Flavor> {
  const flavor = await findFlavor(db, id);
  if (!flavor) throw flavorNotFound(id);
  return flavor;
}

/** 409 in Nova's words (exception.FlavorIdExists, FlavorExists). */
async function refuseTaken(trx: Database, { id, name }: { id: string; name: string }): Promise<void> {
  if (await findFlavorRow(trx, id)) throw new AppError("conflict", `Flavor with ID ${id} already exists.`);
  if (await findFlavorByName(trx, name)) throw new AppError("conflict", `Flavor with name ${name} already exists.`);
}

import type { Database } from "#/db/database.ts";
import { findDomain } from "#/db/identity/domains.ts";
import {
  countHoldings,
  findProject,
  findProjectByName,
  insertProject,
  listProjects,
  type ProjectFilter,
  removeProject,
  updateProject,
} from "#/db/identity/projects.ts";
import { listAssignedRoles } from "#/db/identity/role-assignments.ts";
import { AppError } from "#/domain/errors.ts";
import type { Project, Subject } from "#/domain/identity.ts";
import { projectId, userId, type ProjectId } from "#/domain/ids.ts";
import { requireAdministrator, requireOverseer } from "./access.ts";
import { newIdentityId } from "./new-id.ts";

/** A project owns images, volumes and snapshots. */
export class Projects {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async create(subject: Subject, { parentId, ...fields }: Omit<Project, "id">): Promise<Project> {
    requireAdministrator(subject, "create projects");
    const nested = parentId !== undefined && parentId !== projectId(fields.domainId);
    const project: Project = { id: projectId(newIdentityId()), ...fields, ...(nested && { parentId }) };
    await this.#db.transaction().execute(async (trx) => {
      if (!(await findDomain(trx, project.domainId))) throw new AppError("bad_request", `There is no domain ${project.domainId}.`);
      await refuseMissingParent(trx, project);
      await refuseTaken(trx, project);
      await insertProject(trx, project);
    });
    return project;
  }

  async list(subject: Subject, filter: ProjectFilter): Promise<Project[]> {
    requireOverseer(subject, "list projects");
    return listProjects(this.#db, filter);
  }

  /** Those on which a user has a role. Users may ask for their own. */
  async listOf(subject: Subject, id: string, filter: ProjectFilter): Promise<Project[]> {
    if (id !== subject.user.id) requireOverseer(subject, "list another user's projects");
    return listProjects(this.#db, { ...filter, userId: userId(id) });
  }

  /** Users may see projects on which they have a role. */
  async show(subject: Subject, id: ProjectId): Promise<Project> {
    const roles = await listAssignedRoles(this.#db, userId(subject.user.id), { kind: "project", projectId: id });
    if (roles.length === 0) requireOverseer(subject, "look at this project");
    return existing(this.#db, id);
  }

  async update(subject: Subject, id: ProjectId, { domainId, parentId, ...changes }: Partial<Omit<Project, "id">>): Promise<Project> {
    requireAdministrator(subject, "change projects");
    return this.#db.transaction().execute(async (trx) => {
      const before = await existing(trx, id);
      const moves = (domainId ?? before.domainId) !== before.domainId || (parentId ?? parentOf(before)) !== parentOf(before);
      if (moves) throw new AppError("forbidden", "A project cannot move to another domain or parent.");
      const project = { ...before, ...changes };
      await refuseTaken(trx, project);
      await updateProject(trx, project);
      return project;
    });
  }

  /** Unlike Keystone, which leaves orphans behind, it refuses while the project owns something. */
  async delete(subject: Subject, id: ProjectId): Promise<void> {
    requireAdministrator(subject, "delete projects");
    await this.#db.transaction().execute(async (trx) => {
      const project = await existing(trx, id);
      await refuseHoldings(trx, project);
      const [child] = await listProjects(trx, { parentId: id, limit: 1 });
      if (child) throw new AppError("forbidden", `Cannot delete project "${project.name}": it has the child "${child.name}".`);
      await removeProject(trx, id);
    });
  }
}

/** `conflict` while the project owns images, volumes or snapshots. */
export async function refuseHoldings(db: Database, { id, name }: Project): Promise<void> {
  const holdings = Object.entries(await countHoldings(db, id)).filter(([, count]) => count > 0);
  if (holdings.length === 0) return;
  const words = holdings.map(([kind, count]) => `${count} ${kind}`).join(", ");
  throw new AppError("conflict", `Cannot delete project "${name}": it owns ${words}.`);
}

/** A project at the top has its domain for a parent. */
export function parentOf({ parentId, domainId }: Project): string {
  return parentId ?? domainId;
}

async function existing(db: Database, id: ProjectId): Promise<Project> {
  const project = await findProject(db, id);
  if (!project) throw new AppError("not_found", `There is no project ${id}.`);
  return project;
}

async function refuseMissingParent(db: Database, { parentId, domainId }: Project): Promise<void> {
  if (parentId === undefined) return;
  const parent = await findProject(db, parentId);
  if (parent?.domainId !== domainId) throw new AppError("bad_request", `There is no project ${parentId} in the domain ${domainId}.`);
}

async function refuseTaken(db: Database, { id, name, domainId }: Project): Promise<void> {
  const other = await findProjectByName(db, domainId, name);
  if (other && other.id !== id) throw new AppError("conflict", `There is a project "${name}" in the domain already.`);
}

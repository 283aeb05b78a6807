import type { Database } from "#/db/database.ts";
import { removeApplicationCredentialsOf } from "#/db/identity/application-credentials.ts";
import { findDomain } from "#/db/identity/domains.ts";
import { findProject } from "#/db/identity/projects.ts";
import {
  addRoleAssignment,
  listAssignedRoles,
  listRoleAssignments,
  removeRoleAssignment,
  type RoleAssignmentFilter,
} from "#/db/identity/role-assignments.ts";
import { findRole } from "#/db/identity/roles.ts";
import { findUser } from "#/db/identity/users.ts";
import { AppError } from "#/domain/errors.ts";
import type { AssignmentTarget, NamedRoleAssignment, Role, RoleAssignment, Subject } from "#/domain/identity.ts";
import { userId, type UserId } from "#/domain/ids.ts";
import { withImpliedRoles } from "#/domain/roles.ts";
import { requireAdministrator, requireOverseer } from "./access.ts";

/** Which user has which role where. */
export class RoleAssignments {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async add(subject: Subject, assignment: RoleAssignment): Promise<void> {
    requireAdministrator(subject, "give roles");
    await this.#db.transaction().execute(async (trx) => {
      await refuseMissing(trx, assignment);
      await addRoleAssignment(trx, assignment);
    });
  }

  /** The user's application credentials for the project end with any of his roles there, as in Keystone. */
  async remove(subject: Subject, assignment: RoleAssignment): Promise<void> {
    requireAdministrator(subject, "take roles");
    const { userId, target } = assignment;
    await this.#db.transaction().execute(async (trx) => {
      if (!(await removeRoleAssignment(trx, assignment))) throw new AppError("not_found", "The user does not have the role there.");
      if (target.kind === "project") await removeApplicationCredentialsOf(trx, userId, target.projectId);
    });
  }

  /** `not_found` where the user does not have the role there. */
  async check(subject: Subject, { userId, roleId, target }: RoleAssignment): Promise<void> {
    const roles = await this.listFor(subject, userId, target);
    if (!roles.some(({ id }) => id === roleId)) throw new AppError("not_found", "The user does not have the role there.");
  }

  /** The roles that were given to the user on the target. */
  async listFor(subject: Subject, userId: UserId, target: AssignmentTarget): Promise<Role[]> {
    requireOverseer(subject, "look at the roles of users");
    await refuseMissing(this.#db, { userId, target });
    return listAssignedRoles(this.#db, userId, target);
  }

  /** The roles that were given to the token's user on the target. */
  async listOwn({ user }: Subject, target: AssignmentTarget): Promise<Role[]> {
    return listAssignedRoles(this.#db, userId(user.id), target);
  }

  /** Users may list their own. `effective` adds the roles that others imply. */
  async list(subject: Subject, filter: RoleAssignmentFilter & { effective?: boolean }): Promise<NamedRoleAssignment[]> {
    if (filter.userId !== subject.user.id) requireOverseer(subject, "list role assignments");
    if (!filter.effective) return listRoleAssignments(this.#db, filter);
    const assignments = withImplied(await listRoleAssignments(this.#db, { ...filter, roleId: undefined }));
    return assignments.filter(({ roleId }) => filter.roleId === undefined || roleId === filter.roleId);
  }
}

function withImplied(assignments: readonly NamedRoleAssignment[]): NamedRoleAssignment[] {
  const effective = new Map<string, NamedRoleAssignment>();
  for (const assignment of assignments) {
    for (const role of withImpliedRoles([assignment.role])) {
      const { userId, target } = assignment;
      effective.set(JSON.stringify([userId, target, role.id]), { ...assignment, roleId: role.id, role: { id: role.id, name: role.name } });
    }
  }
  return [...effective.values()];
}

async function refuseMissing(db: Database, assignment: Omit<RoleAssignment, "roleId"> & { roleId?: string }): Promise<void> {
  const { userId, roleId, target } = assignment;
  if (!(await findUser(db, userId))) throw new AppError("not_found", `There is no user ${userId}.`);
  if (roleId !== undefined && !(await findRole(db, roleId))) throw new AppError("not_found", `There is no role ${roleId}.`);
  if (target.kind === "project" && !(await findProject(db, target.projectId)))
    throw new AppError("not_found", `There is no project ${target.projectId}.`);
  if (target.kind === "domain" && !(await findDomain(db, target.domainId)))
    throw new AppError("not_found", `There is no domain ${target.domainId}.`);
}

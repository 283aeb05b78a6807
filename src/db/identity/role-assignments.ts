import type { Database } from "#/db/database.ts";
import type { RoleAssignmentTable } from "#/db/identity-tables.ts";
import type { AssignmentTarget, NamedRoleAssignment, Role, RoleAssignment } from "#/domain/identity.ts";
import { projectId, userId, type UserId } from "#/domain/ids.ts";
import { roleOf } from "./roles.ts";

export interface RoleAssignmentFilter {
  readonly userId?: string | undefined;
  readonly roleId?: string | undefined;
  readonly projectId?: string | undefined;
  readonly domainId?: string | undefined;
  /** Only roles on the system. */
  readonly system?: boolean | undefined;
  readonly limit: number;
}

/** Does nothing where the user has the role already. */
export async function addRoleAssignment(db: Database, { userId, roleId, target }: RoleAssignment): Promise<void> {
  const row = { user_id: userId, role_id: roleId, ...targetColumns(target) };
  await db
    .insertInto("role_assignment")
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** False where there was none. */
export async function removeRoleAssignment(db: Database, { userId, roleId, target }: RoleAssignment): Promise<boolean> {
  const { project_id, domain_id } = targetColumns(target);
  const { numDeletedRows } = await db
    .deleteFrom("role_assignment")
    .where("user_id", "=", userId)
    .where("role_id", "=", roleId)
    .where("project_id", project_id === null ? "is" : "=", project_id)
    .where("domain_id", domain_id === null ? "is" : "=", domain_id)
    .executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}

/** The roles that were given to the user on the target; implied ones are not among them. */
export async function listAssignedRoles(db: Database, user: UserId, target: AssignmentTarget): Promise<Role[]> {
  const { project_id, domain_id } = targetColumns(target);
  const rows = await db
    .selectFrom("role_assignment")
    .innerJoin("role", "role.id", "role_assignment.role_id")
    .selectAll("role")
    .where("user_id", "=", user)
    .where("project_id", project_id === null ? "is" : "=", project_id)
    .where("domain_id", domain_id === null ? "is" : "=", domain_id)
    .orderBy("role.name")
    .execute();
  return rows.map((row) => roleOf(row));
}

export async function listRoleAssignments(db: Database, filter: RoleAssignmentFilter): Promise<NamedRoleAssignment[]> {
  let query = namedAssignments(db);
  if (filter.userId !== undefined) query = query.where("a.user_id", "=", filter.userId);
  if (filter.roleId !== undefined) query = query.where("a.role_id", "=", filter.roleId);
  if (filter.projectId !== undefined) query = query.where("a.project_id", "=", filter.projectId);
  if (filter.domainId !== undefined) query = query.where("a.domain_id", "=", filter.domainId);
  if (filter.system) query = query.where("a.project_id", "is", null).where("a.domain_id", "is", null);
  const rows = await query.orderBy("u.name").orderBy("p.name").orderBy("r.name").limit(filter.limit).execute();
  return rows.map((row) => ({
    userId: userId(row.user_id),
    roleId: row.role_id,
    target: targetOf(row),
    user: { id: row.user_id, name: row.user_name, domain: { id: row.user_domain_id, name: row.user_domain_name } },
    role: { id: row.role_id, name: row.role_name },
    project: projectNameOf(row),
    domain: row.domain_id === null ? undefined : { id: row.domain_id, name: row.domain_name ?? "" },
  }));
}

function namedAssignments(db: Database) {
  return db
    .selectFrom("role_assignment as a")
    .innerJoin("user as u", "u.id", "a.user_id")
    .innerJoin("domain as ud", "ud.id", "u.domain_id")
    .innerJoin("role as r", "r.id", "a.role_id")
    .leftJoin("project as p", "p.id", "a.project_id")
    .leftJoin("domain as pd", "pd.id", "p.domain_id")
    .leftJoin("domain as d", "d.id", "a.domain_id")
    .selectAll("a")
    .select(["u.name as user_name", "ud.id as user_domain_id", "ud.name as user_domain_name", "r.name as role_name"])
    .select(["p.name as project_name", "pd.id as project_domain_id", "pd.name as project_domain_name", "d.name as domain_name"]);
}

interface ProjectNameRow {
  project_id: string | null;
  project_name: string | null;
  project_domain_id: string | null;
  project_domain_name: string | null;
}

function projectNameOf(row: ProjectNameRow): NamedRoleAssignment["project"] {
  if (row.project_id === null) return undefined;
  return {
    id: row.project_id,
    name: row.project_name ?? "",
    domain: { id: row.project_domain_id ?? "", name: row.project_domain_name ?? "" },
  };
}

function targetOf({ project_id, domain_id }: Pick<RoleAssignmentTable, "project_id" | "domain_id">): AssignmentTarget {
  if (project_id !== null) return { kind: "project", projectId: projectId(project_id) };
  return domain_id === null ? { kind: "system" } : { kind: "domain", domainId: domain_id };
}

export function targetColumns(target: AssignmentTarget): Pick<RoleAssignmentTable, "project_id" | "domain_id"> {
  return {
    project_id: target.kind === "project" ? target.projectId : null,
    domain_id: target.kind === "domain" ? target.domainId : null,
  };
}

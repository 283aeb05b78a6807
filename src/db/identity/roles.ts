import type { Database } from "#/db/database.ts";
import type { RoleTable } from "#/db/identity-tables.ts";
import type { Role } from "#/domain/identity.ts";
import { after, type Page } from "./paging.ts";

export interface RoleFilter extends Page {
  readonly name?: string | undefined;
}

export async function findRole(db: Database, id: string): Promise<Role | undefined> {
  return roleOf(await db.selectFrom("role").selectAll().where("id", "=", id).executeTakeFirst());
}

export async function findRoleByName(db: Database, name: string): Promise<Role | undefined> {
  return roleOf(await db.selectFrom("role").selectAll().where("name", "=", name).executeTakeFirst());
}

export async function listRoles(db: Database, { name, marker, limit }: RoleFilter): Promise<Role[]> {
  let query = db.selectFrom("role").selectAll().where(after("role", marker));
  if (name !== undefined) query = query.where("name", "=", name);
  return (await query.orderBy("name").orderBy("id").limit(limit).execute()).map((row) => roleOf(row));
}

export async function insertRole(db: Database, { id, name, description }: Role): Promise<void> {
  await db
    .insertInto("role")
    .values({ id, name, description: description ?? null })
    .execute();
}

export async function updateRole(db: Database, { id, name, description }: Role): Promise<void> {
  await db
    .updateTable("role")
    .set({ name, description: description ?? null })
    .where("id", "=", id)
    .execute();
}

/** Removes the role with its assignments. */
export async function removeRole(db: Database, id: string): Promise<void> {
  await db.deleteFrom("role").where("id", "=", id).execute();
}

export function roleOf(row: RoleTable): Role;
export function roleOf(row: RoleTable | undefined): Role | undefined;
export function roleOf(row: RoleTable | undefined): Role | undefined {
  return row && { id: row.id, name: row.name, description: row.description ?? undefined };
}

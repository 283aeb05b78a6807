import type { Database } from "#/db/database.ts";
import { findRole, findRoleByName, insertRole, listRoles, removeRole, type RoleFilter, updateRole } from "#/db/identity/roles.ts";
import { AppError } from "#/domain/errors.ts";
import type { Role, Subject } from "#/domain/identity.ts";
import { isBuiltInRole } from "#/domain/roles.ts";
import { requireAdministrator } from "./access.ts";
import { newIdentityId } from "./new-id.ts";

/** The built-in roles, on which the APIs act, and others, which only policies outside may look at. */
export class Roles {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async create(subject: Subject, fields: Omit<Role, "id">): Promise<Role> {
    requireAdministrator(subject, "create roles");
    const role: Role = { id: newIdentityId(), ...fields };
    await this.#db.transaction().execute(async (trx) => {
      await refuseTaken(trx, role);
      await insertRole(trx, role);
    });
    return role;
  }

  /** For every token: users choose from them for their application credentials. */
  async list(filter: RoleFilter): Promise<Role[]> {
    return listRoles(this.#db, filter);
  }

  async show(id: string): Promise<Role> {
    return existing(this.#db, id);
  }

  async update(subject: Subject, id: string, changes: Partial<Omit<Role, "id">>): Promise<Role> {
    requireAdministrator(subject, "change roles");
    refuseBuiltIn(id);
    return this.#db.transaction().execute(async (trx) => {
      const role = { ...(await existing(trx, id)), ...changes };
      await refuseTaken(trx, role);
      await updateRole(trx, role);
      return role;
    });
  }

  /** Whoever has the role loses it. */
  async delete(subject: Subject, id: string): Promise<void> {
    requireAdministrator(subject, "delete roles");
    refuseBuiltIn(id);
    await this.#db.transaction().execute(async (trx) => {
      await existing(trx, id);
      await removeRole(trx, id);
    });
  }
}

function refuseBuiltIn(id: string): void {
  if (isBuiltInRole(id)) throw new AppError("forbidden", `The role "${id}" is built in: it can be neither changed nor deleted.`);
}

async function existing(db: Database, id: string): Promise<Role> {
  const role = await findRole(db, id);
  if (!role) throw new AppError("not_found", `There is no role ${id}.`);
  return role;
}

async function refuseTaken(db: Database, { id, name }: Role): Promise<void> {
  const other = await findRoleByName(db, name);
  if (other && other.id !== id) throw new AppError("conflict", `There is a role "${name}" already.`);
}

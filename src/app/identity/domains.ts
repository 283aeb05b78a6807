import type { Database } from "#/db/database.ts";
import {
  type DomainFilter,
  findDomain,
  findDomainByName,
  insertDomain,
  listDomains,
  listDomainsOf,
  removeDomain,
  updateDomain,
} from "#/db/identity/domains.ts";
import { listProjects, removeProject } from "#/db/identity/projects.ts";
import { listUsers, removeUser } from "#/db/identity/users.ts";
import { AppError } from "#/domain/errors.ts";
import type { Domain, Subject } from "#/domain/identity.ts";
import { userId } from "#/domain/ids.ts";
import { requireAdministrator, requireOverseer } from "./access.ts";
import { DEFAULT_DOMAIN_ID } from "./bootstrap.ts";
import { newIdentityId } from "./new-id.ts";
import { refuseHoldings } from "./projects.ts";

/** A domain is a space of names for projects and users. */
export class Domains {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async create(subject: Subject, fields: Omit<Domain, "id">): Promise<Domain> {
    requireAdministrator(subject, "create domains");
    const domain: Domain = { id: newIdentityId(), ...fields };
    await this.#db.transaction().execute(async (trx) => {
      await refuseTaken(trx, domain);
      await insertDomain(trx, domain);
    });
    return domain;
  }

  async list(subject: Subject, filter: DomainFilter): Promise<Domain[]> {
    requireOverseer(subject, "list domains");
    return listDomains(this.#db, filter);
  }

  /** Those on which the token's user has a role. */
  async listOwn({ user }: Subject): Promise<Domain[]> {
    return listDomainsOf(this.#db, userId(user.id));
  }

  /** Users may see their own domain. */
  async show(subject: Subject, id: string): Promise<Domain> {
    if (id !== subject.user.domain.id) requireOverseer(subject, "look at this domain");
    return existing(this.#db, id);
  }

  async update(subject: Subject, id: string, changes: Partial<Omit<Domain, "id">>): Promise<Domain> {
    requireAdministrator(subject, "change domains");
    return this.#db.transaction().execute(async (trx) => {
      const domain = { ...(await existing(trx, id)), ...changes };
      await refuseTaken(trx, domain);
      await updateDomain(trx, domain);
      return domain;
    });
  }

  /** Deletes the domain with its projects and users; it must be disabled first, as in Keystone, and own no disks. */
  async delete(subject: Subject, id: string): Promise<void> {
    requireAdministrator(subject, "delete domains");
    await this.#db.transaction().execute(async (trx) => {
      const { name, enabled } = await existing(trx, id);
      if (id === DEFAULT_DOMAIN_ID) throw new AppError("forbidden", `The domain "${name}" cannot be deleted.`);
      if (enabled) throw new AppError("forbidden", `Cannot delete domain "${name}": it is enabled. Disable it first.`);
      const filter = { domainId: id, limit: Number.MAX_SAFE_INTEGER };
      for (const project of await listProjects(trx, filter)) {
        await refuseHoldings(trx, project);
        await removeProject(trx, project.id);
      }
      for (const user of await listUsers(trx, filter)) await removeUser(trx, user.id);
      await removeDomain(trx, id);
    });
  }
}

async function existing(db: Database, id: string): Promise<Domain> {
  const domain = await findDomain(db, id);
  if (!domain) throw new AppError("not_found", `There is no domain ${id}.`);
  return domain;
}

async function refuseTaken(db: Database, { id, name }: Domain): Promise<void> {
  const other = await findDomainByName(db, name);
  if (other && other.id !== id) throw new AppError("conflict", `There is a domain "${name}" already.`);
}

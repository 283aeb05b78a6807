import { sql } from "kysely";
import type { Database } from "#/db/database.ts";
import type { DomainTable } from "#/db/identity-tables.ts";
import type { Domain } from "#/domain/identity.ts";
import type { UserId } from "#/domain/ids.ts";
import { after, type Page } from "./paging.ts";

export interface DomainFilter extends Page {
  readonly name?: string | undefined;
  readonly enabled?: boolean | undefined;
}

export async function findDomain(db: Database, id: string): Promise<Domain | undefined> {
  return domainOf(await db.selectFrom("domain").selectAll().where("id", "=", id).executeTakeFirst());
}

/** Names of domains are compared without case, as Keystone's databases do: `Default` and `default` are one. */
export async function findDomainByName(db: Database, name: string): Promise<Domain | undefined> {
  return domainOf(await db.selectFrom("domain").selectAll().where(sql`lower(name)`, "=", name.toLowerCase()).executeTakeFirst());
}

export async function listDomains(db: Database, { name, enabled, marker, limit }: DomainFilter): Promise<Domain[]> {
  let query = db.selectFrom("domain").selectAll().where(after("domain", marker));
  if (name !== undefined) query = query.where(sql`lower(name)`, "=", name.toLowerCase());
  if (enabled !== undefined) query = query.where("enabled", "=", Number(enabled));
  return (await query.orderBy("name").orderBy("id").limit(limit).execute()).map((row) => domainOf(row));
}

/** The enabled ones on which the user has a role. */
export async function listDomainsOf(db: Database, user: UserId): Promise<Domain[]> {
  const rows = await db
    .selectFrom("domain")
    .selectAll()
    .where("enabled", "=", 1)
    .where((eb) =>
      eb.exists(
        eb.selectFrom("role_assignment as a").select("a.user_id").where("a.user_id", "=", user).whereRef("a.domain_id", "=", "domain.id"),
      ),
    )
    .orderBy("name")
    .execute();
  return rows.map((row) => domainOf(row));
}

export async function insertDomain(db: Database, domain: Domain): Promise<void> {
  await db
    .insertInto("domain")
    .values({ ...domain, enabled: Number(domain.enabled) })
    .execute();
}

export async function updateDomain(db: Database, { id, ...domain }: Domain): Promise<void> {
  await db
    .updateTable("domain")
    .set({ ...domain, enabled: Number(domain.enabled) })
    .where("id", "=", id)
    .execute();
}

export async function removeDomain(db: Database, id: string): Promise<void> {
  await db.deleteFrom("domain").where("id", "=", id).execute();
}

function domainOf(row: DomainTable): Domain;
function domainOf(row: DomainTable | undefined): Domain | undefined;
function domainOf(row: DomainTable | undefined): Domain | undefined {
  return row && { id: row.id, name: row.name, description: row.description ?? "", enabled: row.enabled === 1 };
}

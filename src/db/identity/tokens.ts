import { sql } from "kysely";
import type { Database } from "#/db/database.ts";
import type { RoleTable } from "#/db/identity-tables.ts";
import type { Named, Role, Scope, Token } from "#/domain/identity.ts";
import { roleOf } from "./roles.ts";
import { targetColumns } from "./role-assignments.ts";

/** Everything that decides whether a token is still good, as it is now. */
export interface TokenState {
  readonly user: Named & { readonly domain: Named };
  readonly project?: (Named & { readonly domain: Named }) | undefined;
  readonly domain?: Named | undefined;
  readonly applicationCredential?: (Named & { readonly unrestricted: boolean; readonly expiresAtMs: number | undefined }) | undefined;
  /** The user, his domain, and the project or domain of the token with its domain are all enabled. */
  readonly enabled: boolean;
  readonly revoked: boolean;
  readonly tokensValidFromMs: number;
}

/*
 * These two run at every request to every API. They are written out as SQL: to build so large a query anew each time takes
 * several times as long as to run it.
 */

/** One query over primary keys. Undefined where the user is gone; a project or domain that is gone is left out. */
export async function findTokenState(db: Database, token: Token): Promise<TokenState | undefined> {
  const { project_id, domain_id } = scopeColumns(token.scope);
  const { rows } = await sql<TokenStateRow>`
    select u.id, u.name, u.enabled, u.tokens_valid_from, ud.id as ud_id, ud.name as ud_name, ud.enabled as ud_enabled,
      p.id as p_id, p.name as p_name, p.enabled as p_enabled, pd.id as pd_id, pd.name as pd_name, pd.enabled as pd_enabled,
      d.id as d_id, d.name as d_name, d.enabled as d_enabled, r.audit_id, c.id as c_id, c.name as c_name, c.unrestricted, c.expires_at
    from "user" u
    join domain ud on ud.id = u.domain_id
    left join project p on p.id = ${project_id}
    left join domain pd on pd.id = p.domain_id
    left join domain d on d.id = ${domain_id}
    left join application_credential c on c.id = ${token.applicationCredentialId ?? null}
    left join revocation r on r.audit_id = ${token.auditIds[0]}
    where u.id = ${token.userId}`.execute(db);
  return rows[0] && tokenStateOf(rows[0]);
}

/** The roles of the token's user in its scope (`assigned`), and those that its application credential was given. One query. */
export async function listTokenRoles(db: Database, token: Token): Promise<{ assigned: Role[]; delegated: Role[] }> {
  if (token.scope.kind === "unscoped") return { assigned: [], delegated: [] };
  const { project_id, domain_id } = targetColumns(token.scope);
  const { rows } = await sql<RoleTable & { delegated: number }>`
    select role.id, role.name, role.description, 0 as delegated
    from role_assignment a join role on role.id = a.role_id
    where a.user_id = ${token.userId} and coalesce(a.project_id, '') = ${project_id ?? ""} and coalesce(a.domain_id, '') = ${domain_id ?? ""}
    union all
    select role.id, role.name, role.description, 1
    from application_credential_role c join role on role.id = c.role_id
    where c.application_credential_id = ${token.applicationCredentialId ?? null}`.execute(db);
  return {
    assigned: rows.filter((row) => row.delegated === 0).map((row) => roleOf(row)),
    delegated: rows.filter((row) => row.delegated === 1).map((row) => roleOf(row)),
  };
}

export async function insertRevocation(db: Database, auditId: string, expiresAtMs: number): Promise<void> {
  await db
    .insertInto("revocation")
    .values({ audit_id: auditId, expires_at: expiresAtMs })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Forgets the revocations of tokens that have expired by themselves. */
export async function removeRevocationsBefore(db: Database, ms: number): Promise<void> {
  await db.deleteFrom("revocation").where("expires_at", "<", ms).execute();
}

function scopeColumns(scope: Scope): { project_id: string | null; domain_id: string | null } {
  return scope.kind === "unscoped" ? { project_id: null, domain_id: null } : targetColumns(scope);
}

function named(id: string | null, name: string | null): Named | undefined {
  return id === null ? undefined : { id, name: name ?? "" };
}

interface TokenStateRow {
  id: string;
  name: string;
  enabled: number;
  tokens_valid_from: number;
  ud_id: string;
  ud_name: string;
  ud_enabled: number;
  p_id: string | null;
  p_name: string | null;
  p_enabled: number | null;
  pd_id: string | null;
  pd_name: string | null;
  pd_enabled: number | null;
  d_id: string | null;
  d_name: string | null;
  d_enabled: number | null;
  audit_id: string | null;
  c_id: string | null;
  c_name: string | null;
  unrestricted: number | null;
  expires_at: number | null;
}

function tokenStateOf(row: TokenStateRow): TokenState {
  const projectDomain = named(row.pd_id, row.pd_name);
  const project = named(row.p_id, row.p_name);
  const credential = named(row.c_id, row.c_name);
  return {
    user: { id: row.id, name: row.name, domain: { id: row.ud_id, name: row.ud_name } },
    project: project && projectDomain && { ...project, domain: projectDomain },
    domain: named(row.d_id, row.d_name),
    applicationCredential: credential && { ...credential, unrestricted: row.unrestricted === 1, expiresAtMs: row.expires_at ?? undefined },
    enabled: [row.enabled, row.ud_enabled, row.p_enabled, row.pd_enabled, row.d_enabled].every((flag) => flag !== 0),
    revoked: row.audit_id !== null,
    tokensValidFromMs: Number(row.tokens_valid_from),
  };
}

import type { Database } from "#/db/database.ts";
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

/** One query over primary keys. Undefined where the user is gone; a project or domain that is gone is left out. */
export async function findTokenState(db: Database, token: Token): Promise<TokenState | undefined> {
  const { project_id, domain_id } = scopeColumns(token.scope);
  const row = await db
    .selectFrom("user as u")
    .innerJoin("domain as ud", "ud.id", "u.domain_id")
    .leftJoin("project as p", (join) => join.on("p.id", "=", project_id))
    .leftJoin("domain as pd", "pd.id", "p.domain_id")
    .leftJoin("domain as d", (join) => join.on("d.id", "=", domain_id))
    .leftJoin("application_credential as c", (join) => join.on("c.id", "=", token.applicationCredentialId ?? ""))
    .leftJoin("revocation as r", (join) => join.on("r.audit_id", "=", token.auditIds[0]))
    .where("u.id", "=", token.userId)
    .select(["u.id", "u.name", "u.enabled", "u.tokens_valid_from", "ud.id as ud_id", "ud.name as ud_name", "ud.enabled as ud_enabled"])
    .select([
      "p.id as p_id",
      "p.name as p_name",
      "p.enabled as p_enabled",
      "pd.id as pd_id",
      "pd.name as pd_name",
      "pd.enabled as pd_enabled",
    ])
    .select(["d.id as d_id", "d.name as d_name", "d.enabled as d_enabled", "r.audit_id"])
    .select(["c.id as c_id", "c.name as c_name", "c.unrestricted", "c.expires_at"])
    .executeTakeFirst();
  if (!row) return undefined;
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

/** The roles of the token's user in its scope (`assigned`), and those that its application credential was given. One query. */
export async function listTokenRoles(db: Database, token: Token): Promise<{ assigned: Role[]; delegated: Role[] }> {
  if (token.scope.kind === "unscoped") return { assigned: [], delegated: [] };
  const { project_id, domain_id } = targetColumns(token.scope);
  const assigned = db
    .selectFrom("role_assignment as a")
    .innerJoin("role", "role.id", "a.role_id")
    .select((eb) => ["role.id", "role.name", "role.description", eb.lit<number>(0).as("delegated")])
    .where("a.user_id", "=", token.userId)
    .where("a.project_id", project_id === null ? "is" : "=", project_id)
    .where("a.domain_id", domain_id === null ? "is" : "=", domain_id);
  const delegated = db
    .selectFrom("application_credential_role as c")
    .innerJoin("role", "role.id", "c.role_id")
    .select((eb) => ["role.id", "role.name", "role.description", eb.lit<number>(1).as("delegated")])
    .where("c.application_credential_id", "=", token.applicationCredentialId ?? "");
  const rows = await assigned.unionAll(delegated).execute();
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

import type { Database } from "#/db/database.ts";
import type { ApplicationCredentialTable } from "#/db/identity-tables.ts";
import type { ApplicationCredential, Role } from "#/domain/identity.ts";
import { projectId, userId, type ProjectId, type UserId } from "#/domain/ids.ts";
import { roleOf } from "./roles.ts";

export async function findApplicationCredential(db: Database, id: string): Promise<ApplicationCredential | undefined> {
  const row = await db.selectFrom("application_credential").selectAll().where("id", "=", id).executeTakeFirst();
  return row && credentialOf(row, await rolesOf(db, [row.id]));
}

export async function findApplicationCredentialByName(
  db: Database,
  user: UserId,
  name: string,
): Promise<ApplicationCredential | undefined> {
  return (await listApplicationCredentials(db, user, name))[0];
}

/** Those of the user, sorted by name. */
export async function listApplicationCredentials(db: Database, user: UserId, name?: string): Promise<ApplicationCredential[]> {
  let query = db.selectFrom("application_credential").selectAll().where("user_id", "=", user);
  if (name !== undefined) query = query.where("name", "=", name);
  const rows = await query.orderBy("name").execute();
  const roles = await rolesOf(
    db,
    rows.map(({ id }) => id),
  );
  return rows.map((row) => credentialOf(row, roles));
}

export async function findSecretHash(db: Database, id: string): Promise<string | undefined> {
  const row = await db.selectFrom("application_credential").select("secret_hash").where("id", "=", id).executeTakeFirst();
  return row?.secret_hash;
}

/** Call it in a transaction: it writes two tables. */
export async function insertApplicationCredential(
  trx: Database,
  credential: ApplicationCredential,
  secret: { secretHash: string; createdAtMs: number },
): Promise<void> {
  const { id, name, description, roles } = credential;
  await trx
    .insertInto("application_credential")
    .values({
      id,
      user_id: credential.userId,
      project_id: credential.projectId,
      name,
      description,
      secret_hash: secret.secretHash,
      unrestricted: Number(credential.unrestricted),
      expires_at: credential.expiresAtMs ?? null,
      created_at: secret.createdAtMs,
    })
    .execute();
  await trx
    .insertInto("application_credential_role")
    .values(roles.map((role) => ({ application_credential_id: id, role_id: role.id })))
    .execute();
}

export async function removeApplicationCredential(db: Database, id: string): Promise<void> {
  await db.deleteFrom("application_credential").where("id", "=", id).execute();
}

/** Those that the user made for the project: they stand on his roles there. */
export async function removeApplicationCredentialsOf(db: Database, user: UserId, project: ProjectId): Promise<void> {
  await db.deleteFrom("application_credential").where("user_id", "=", user).where("project_id", "=", project).execute();
}

async function rolesOf(db: Database, ids: readonly string[]): Promise<Map<string, Role[]>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .selectFrom("application_credential_role as r")
    .innerJoin("role", "role.id", "r.role_id")
    .selectAll("role")
    .select("r.application_credential_id")
    .where("r.application_credential_id", "in", ids)
    .orderBy("role.name")
    .execute();
  const roles = new Map<string, Role[]>();
  for (const row of rows) roles.set(row.application_credential_id, [...(roles.get(row.application_credential_id) ?? []), roleOf(row)]);
  return roles;
}

function credentialOf(row: ApplicationCredentialTable, roles: ReadonlyMap<string, readonly Role[]>): ApplicationCredential {
  return {
    id: row.id,
    userId: userId(row.user_id),
    projectId: projectId(row.project_id),
    name: row.name,
    description: row.description,
    unrestricted: row.unrestricted === 1,
    expiresAtMs: row.expires_at ?? undefined,
    roles: roles.get(row.id) ?? [],
  };
}

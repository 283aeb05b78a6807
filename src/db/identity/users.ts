import type { Database } from "#/db/database.ts";
import type { UserTable } from "#/db/identity-tables.ts";
import type { User } from "#/domain/identity.ts";
import { projectId, userId, type UserId } from "#/domain/ids.ts";
import { after, type Page } from "./paging.ts";

export interface UserFilter extends Page {
  readonly name?: string | undefined;
  readonly domainId?: string | undefined;
  readonly enabled?: boolean | undefined;
}

export async function findUser(db: Database, id: UserId): Promise<User | undefined> {
  return userOf(await db.selectFrom("user").selectAll().where("id", "=", id).executeTakeFirst());
}

export async function findUserByName(db: Database, domainId: string, name: string): Promise<User | undefined> {
  return userOf(await db.selectFrom("user").selectAll().where("domain_id", "=", domainId).where("name", "=", name).executeTakeFirst());
}

export async function findPasswordHash(db: Database, id: UserId): Promise<string | undefined> {
  const row = await db.selectFrom("user").select("password_hash").where("id", "=", id).executeTakeFirst();
  return row?.password_hash;
}

export async function listUsers(db: Database, { name, domainId, enabled, marker, limit }: UserFilter): Promise<User[]> {
  let query = db.selectFrom("user").selectAll().where(after("user", marker));
  if (name !== undefined) query = query.where("name", "=", name);
  if (domainId !== undefined) query = query.where("domain_id", "=", domainId);
  if (enabled !== undefined) query = query.where("enabled", "=", Number(enabled));
  return (await query.orderBy("name").orderBy("id").limit(limit).execute()).map((row) => userOf(row));
}

export async function insertUser(db: Database, user: User, secret: { passwordHash: string; tokensValidFromMs: number }): Promise<void> {
  const { passwordHash, tokensValidFromMs } = secret;
  await db
    .insertInto("user")
    .values({ ...rowOf(user), password_hash: passwordHash, tokens_valid_from: tokensValidFromMs })
    .execute();
}

export async function updateUser(db: Database, user: User): Promise<void> {
  await db.updateTable("user").set(rowOf(user)).where("id", "=", user.id).execute();
}

export async function setPasswordHash(db: Database, id: UserId, passwordHash: string): Promise<void> {
  await db.updateTable("user").set({ password_hash: passwordHash }).where("id", "=", id).execute();
}

/** Ends all tokens of the user that were issued before. */
export async function setTokensValidFrom(db: Database, id: UserId, ms: number): Promise<void> {
  await db.updateTable("user").set({ tokens_valid_from: ms }).where("id", "=", id).execute();
}

/** Removes the user with his role assignments and application credentials. */
export async function removeUser(db: Database, id: UserId): Promise<void> {
  await db.deleteFrom("user").where("id", "=", id).execute();
}

function rowOf(user: User): Omit<UserTable, "password_hash" | "tokens_valid_from"> {
  return {
    id: user.id,
    domain_id: user.domainId,
    name: user.name,
    description: user.description ?? null,
    email: user.email ?? null,
    enabled: Number(user.enabled),
    default_project_id: user.defaultProjectId ?? null,
  };
}

function userOf(row: UserTable): User;
function userOf(row: UserTable | undefined): User | undefined;
function userOf(row: UserTable | undefined): User | undefined {
  return (
    row && {
      id: userId(row.id),
      domainId: row.domain_id,
      name: row.name,
      description: row.description ?? undefined,
      email: row.email ?? undefined,
      enabled: row.enabled === 1,
      defaultProjectId: row.default_project_id === null ? undefined : projectId(row.default_project_id),
    }
  );
}

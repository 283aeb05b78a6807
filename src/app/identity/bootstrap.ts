import { randomBytes } from "node:crypto";
import type { Database } from "#/db/database.ts";
import { findDomain, insertDomain } from "#/db/identity/domains.ts";
import { findProjectByName, insertProject } from "#/db/identity/projects.ts";
import { addRoleAssignment } from "#/db/identity/role-assignments.ts";
import { insertRole } from "#/db/identity/roles.ts";
import { findPasswordHash, findUserByName, insertUser, setPasswordHash, setTokensValidFrom, updateUser } from "#/db/identity/users.ts";
import type { Project, User } from "#/domain/identity.ts";
import { projectId, userId } from "#/domain/ids.ts";
import { BUILT_IN_ROLES } from "#/domain/roles.ts";
import type { Clock } from "#/lib/clock.ts";
import { newIdentityId } from "./new-id.ts";
import { Passwords } from "./passwords.ts";

/** The domain of everything that is not put into another; as Keystone's, it has a fixed id. */
export const DEFAULT_DOMAIN_ID = "default";

/** The administrator's user and project have this name, in the domain `default`. */
const ADMIN = "admin";
/** The project for users of other services. */
const SERVICE = "service";

const GENERATED_PASSWORD_BYTES = 18;

interface BootstrapOptions {
  readonly clock: Clock;
  /** What the administrator's password shall be; undefined: as it is. */
  readonly adminPassword?: string | undefined;
  readonly passwords?: Passwords;
}

/** A password for the administrator at the first start; undefined where there is one already. */
export async function firstPassword(db: Database): Promise<string | undefined> {
  return (await isFirstStart(db)) ? randomBytes(GENERATED_PASSWORD_BYTES).toString("base64url") : undefined;
}

/**
 * Makes the first domain, projects, roles and the administrator where they are missing. A given password is set if it
 * differs from the present one, and an administrator who was deleted or disabled comes back with it: so nobody locks
 * himself out for good. The first start needs one.
 */
export async function bootstrapIdentity(db: Database, { clock, adminPassword: password, passwords = new Passwords() }: BootstrapOptions): Promise<void> {
  if (password === undefined) return;
  const first = await isFirstStart(db);
  const admin = await findUserByName(db, DEFAULT_DOMAIN_ID, ADMIN);
  const same = admin?.enabled && (await passwords.verify(password, await findPasswordHash(db, admin.id)));
  const passwordHash = same ? undefined : await passwords.hash(password);
  await db.transaction().execute(async (trx) => {
    if (first) await makeBeginning(trx);
    const user = admin ?? (await makeAdmin(trx));
    if (passwordHash !== undefined) await restoreAdmin(trx, user, passwordHash, clock.nowMs());
    await assignAdmin(trx, user);
  });
}

async function isFirstStart(db: Database): Promise<boolean> {
  return (await findDomain(db, DEFAULT_DOMAIN_ID)) === undefined;
}

async function makeBeginning(trx: Database): Promise<void> {
  await insertDomain(trx, {
    id: DEFAULT_DOMAIN_ID,
    name: "Default",
    description: "The domain of everything that is not put into another.",
    enabled: true,
  });
  for (const role of BUILT_IN_ROLES) await insertRole(trx, role);
  await insertProject(trx, newProject(SERVICE, "For the users of services."));
}

async function makeAdmin(trx: Database): Promise<User> {
  const user: User = {
    id: userId(newIdentityId()),
    domainId: DEFAULT_DOMAIN_ID,
    name: ADMIN,
    description: "The administrator.",
    enabled: true,
  };
  await insertUser(trx, user, { passwordHash: "", tokensValidFromMs: 0 });
  return user;
}

async function restoreAdmin(trx: Database, user: User, passwordHash: string, nowMs: number): Promise<void> {
  await updateUser(trx, { ...user, enabled: true });
  await setPasswordHash(trx, user.id, passwordHash);
  await setTokensValidFrom(trx, user.id, nowMs);
}

async function assignAdmin(trx: Database, user: User): Promise<void> {
  const found = await findProjectByName(trx, DEFAULT_DOMAIN_ID, ADMIN);
  const project = found ?? newProject(ADMIN, "The administrator's project.");
  if (!found) await insertProject(trx, project);
  await addRoleAssignment(trx, { userId: user.id, roleId: ADMIN, target: { kind: "project", projectId: project.id } });
  await addRoleAssignment(trx, { userId: user.id, roleId: ADMIN, target: { kind: "system" } });
}

function newProject(name: string, description: string): Project {
  return { id: projectId(newIdentityId()), domainId: DEFAULT_DOMAIN_ID, name, description, enabled: true };
}

import type { Database } from "#/db/database.ts";
import { findDomain } from "#/db/identity/domains.ts";
import {
  findPasswordHash,
  findUser,
  findUserByName,
  insertUser,
  listUsers,
  removeUser,
  setPasswordHash,
  setTokensValidFrom,
  updateUser,
  type UserFilter,
} from "#/db/identity/users.ts";
import { AppError } from "#/domain/errors.ts";
import type { Subject, User } from "#/domain/identity.ts";
import { userId, type UserId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import { requireAdministrator, requireOverseer } from "./access.ts";
import type { LoginAttempts } from "./login-attempts.ts";
import { newIdentityId } from "./new-id.ts";
import type { Passwords } from "./passwords.ts";

export type UserChanges = Partial<Omit<User, "id">> & { readonly password?: string | undefined };

interface UsersOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly passwords: Passwords;
  readonly attempts: LoginAttempts;
}

/** People and programs that can log in. */
export class Users {
  readonly #options: UsersOptions;

  constructor(options: UsersOptions) {
    this.#options = options;
  }

  /** A user without a password cannot log in until an administrator sets one. */
  async create(subject: Subject, { password, ...fields }: Omit<User, "id"> & { password?: string | undefined }): Promise<User> {
    requireAdministrator(subject, "create users");
    const { db, clock, passwords } = this.#options;
    const user: User = { id: userId(newIdentityId()), ...fields };
    const passwordHash = password === undefined ? "" : await passwords.hash(password);
    await db.transaction().execute(async (trx) => {
      if (!(await findDomain(trx, user.domainId))) throw new AppError("bad_request", `There is no domain ${user.domainId}.`);
      await refuseTaken(trx, user);
      await insertUser(trx, user, { passwordHash, tokensValidFromMs: clock.nowMs() });
    });
    return user;
  }

  async list(subject: Subject, filter: UserFilter): Promise<User[]> {
    requireOverseer(subject, "list users");
    return listUsers(this.#options.db, filter);
  }

  /** Users may see themselves. */
  async show(subject: Subject, id: UserId): Promise<User> {
    if (id !== subject.user.id) requireOverseer(subject, "look at another user");
    return existing(this.#options.db, id);
  }

  /** A new password, or disabling, ends all tokens of the user. */
  async update(subject: Subject, id: UserId, { password, ...changes }: UserChanges): Promise<User> {
    requireAdministrator(subject, "change users");
    const { db, passwords } = this.#options;
    const passwordHash = password === undefined ? undefined : await passwords.hash(password);
    return db.transaction().execute(async (trx) => {
      const before = await existing(trx, id);
      const user = { ...before, ...changes };
      if (user.domainId !== before.domainId) throw new AppError("forbidden", "A user cannot move to another domain.");
      await refuseTaken(trx, user);
      await updateUser(trx, user);
      if (passwordHash !== undefined) await setPasswordHash(trx, id, passwordHash);
      if (passwordHash !== undefined || !user.enabled) await setTokensValidFrom(trx, id, this.#options.clock.nowMs());
      return user;
    });
  }

  /** A user changes his own password, and proves it with the old one. His tokens end. */
  async changePassword(subject: Subject, id: UserId, { original, password }: { original: string; password: string }): Promise<void> {
    if (id !== subject.user.id) throw new AppError("forbidden", "You may change your own password only.");
    const { db, clock, passwords, attempts } = this.#options;
    const name = `password of ${id}`;
    attempts.refuseWhilePaused(name);
    if (!(await passwords.verify(original, await findPasswordHash(db, id)))) {
      attempts.failed(name);
      throw new AppError("unauthorized", "The original password is wrong.");
    }
    attempts.succeeded(name);
    const passwordHash = await passwords.hash(password);
    await db.transaction().execute(async (trx) => {
      await setPasswordHash(trx, id, passwordHash);
      await setTokensValidFrom(trx, id, clock.nowMs());
    });
  }

  async delete(subject: Subject, id: UserId): Promise<void> {
    requireAdministrator(subject, "delete users");
    await this.#options.db.transaction().execute(async (trx) => {
      await existing(trx, id);
      await removeUser(trx, id);
    });
  }
}

async function existing(db: Database, id: UserId): Promise<User> {
  const user = await findUser(db, id);
  if (!user) throw new AppError("not_found", `There is no user ${id}.`);
  return user;
}

async function refuseTaken(db: Database, { id, name, domainId }: User): Promise<void> {
  const other = await findUserByName(db, domainId, name);
  if (other && other.id !== id) throw new AppError("conflict", `There is a user "${name}" in the domain already.`);
}

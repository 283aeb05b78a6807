import { randomBytes } from "node:crypto";
import type { Database } from "#/db/database.ts";
import {
  findApplicationCredential,
  findApplicationCredentialByName,
  insertApplicationCredential,
  listApplicationCredentials,
  removeApplicationCredential,
} from "#/db/identity/application-credentials.ts";
import { AppError } from "#/domain/errors.ts";
import type { ApplicationCredential, Role, Subject } from "#/domain/identity.ts";
import { projectId, userId, type UserId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import { isAdministrator, isOverseer } from "./access.ts";
import { newIdentityId } from "./new-id.ts";
import type { Passwords } from "./passwords.ts";

/** As long as Keystone's. */
const SECRET_BYTES = 64;

export interface NewApplicationCredential {
  readonly name: string;
  readonly description: string;
  /** Undefined: a generated one. */
  readonly secret?: string | undefined;
  /** Of the roles of the token that asks; undefined: all of them. */
  readonly roles?: readonly RoleReference[] | undefined;
  readonly unrestricted: boolean;
  readonly expiresAtMs?: number | undefined;
}
export type RoleReference = { readonly id: string } | { readonly name: string };

interface ApplicationCredentialsOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly passwords: Passwords;
}

/** Secrets with which a user's programs log in without his password. */
export class ApplicationCredentials {
  readonly #options: ApplicationCredentialsOptions;

  constructor(options: ApplicationCredentialsOptions) {
    this.#options = options;
  }

  /** For the project of the token, and for its own user only: not even an administrator makes one for another. The secret is told once. */
  async create(
    subject: Subject,
    owner: UserId,
    fields: NewApplicationCredential,
  ): Promise<{ credential: ApplicationCredential; secret: string }> {
    refuseRestricted(subject);
    if (owner !== subject.user.id) throw new AppError("forbidden", "You may make application credentials for yourself only.");
    const credential = this.#newCredential(subject, fields);
    const secret = fields.secret ?? randomBytes(SECRET_BYTES).toString("base64url");
    const { db, clock, passwords } = this.#options;
    const secretHash = await passwords.hash(secret);
    await db.transaction().execute(async (trx) => {
      const taken = await findApplicationCredentialByName(trx, owner, fields.name);
      if (taken) throw new AppError("conflict", `You have an application credential "${fields.name}" already.`);
      await insertApplicationCredential(trx, credential, { secretHash, createdAtMs: clock.nowMs() });
    });
    return { credential, secret };
  }

  async list(subject: Subject, owner: UserId, name?: string): Promise<ApplicationCredential[]> {
    if (owner !== subject.user.id && !isOverseer(subject))
      throw new AppError("forbidden", "You may list your own application credentials only.");
    return listApplicationCredentials(this.#options.db, owner, name);
  }

  async show(subject: Subject, owner: UserId, id: string): Promise<ApplicationCredential> {
    if (owner !== subject.user.id && !isOverseer(subject))
      throw new AppError("forbidden", "You may look at your own application credentials only.");
    return this.#existing(owner, id);
  }

  /** Its tokens end at once. */
  async delete(subject: Subject, owner: UserId, id: string): Promise<void> {
    refuseRestricted(subject);
    if (owner !== subject.user.id && !isAdministrator(subject))
      throw new AppError("forbidden", "You may delete your own application credentials only.");
    await this.#existing(owner, id);
    await removeApplicationCredential(this.#options.db, id);
  }

  #newCredential(
    subject: Subject,
    { name, description, roles, unrestricted, expiresAtMs }: NewApplicationCredential,
  ): ApplicationCredential {
    if (subject.scope.kind !== "project")
      throw new AppError("bad_request", "An application credential needs a token that is scoped to its project.");
    if (expiresAtMs !== undefined && expiresAtMs <= this.#options.clock.nowMs())
      throw new AppError("bad_request", "expires_at is in the past.");
    return {
      id: newIdentityId(),
      userId: userId(subject.user.id),
      projectId: projectId(subject.scope.project.id),
      name,
      description,
      unrestricted,
      expiresAtMs,
      roles: roles ? chooseRoles(subject.roles, roles) : subject.roles,
    };
  }

  async #existing(owner: UserId, id: string): Promise<ApplicationCredential> {
    const credential = await findApplicationCredential(this.#options.db, id);
    if (credential?.userId !== owner) throw new AppError("not_found", `There is no application credential ${id}.`);
    return credential;
  }
}

/** An application credential must not be able to make others that outlive it, unless it was made for that. */
function refuseRestricted({ applicationCredential }: Subject): void {
  if (!applicationCredential || applicationCredential.unrestricted) return;
  throw new AppError("forbidden", "A restricted application credential cannot manage application credentials.");
}

function chooseRoles(own: readonly Role[], wanted: readonly RoleReference[]): Role[] {
  const chosen = wanted.map((reference) => {
    const role = own.find(({ id, name }) => ("id" in reference ? id === reference.id : name === reference.name));
    if (!role)
      throw new AppError("bad_request", `The token does not have the role "${"id" in reference ? reference.id : reference.name}".`);
    return role;
  });
  if (chosen.length === 0) throw new AppError("bad_request", "An application credential needs a role.");
  return [...new Set(chosen)];
}

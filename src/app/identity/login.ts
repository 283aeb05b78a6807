import { randomBytes } from "node:crypto";
import type { Database } from "#/db/database.ts";
import { findApplicationCredential, findApplicationCredentialByName, findSecretHash } from "#/db/identity/application-credentials.ts";
import { findPasswordHash, findUser, findUserByName } from "#/db/identity/users.ts";
import { AppError } from "#/domain/errors.ts";
import type { ApplicationCredential, Scope, Subject, Token, User } from "#/domain/identity.ts";
import type { UserId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import type { LoginAttempts } from "./login-attempts.ts";
import type { Passwords } from "./passwords.ts";
import { type DomainReference, resolveDomain, resolveProject, type ProjectReference } from "./references.ts";
import type { SignedTokens } from "./signed-tokens.ts";
import type { Tokens } from "./tokens.ts";

/** A request for a token: one or more proofs of who asks, all of the same user, and what the token shall be good for. */
export interface LoginRequest {
  readonly proofs: readonly Proof[];
  /** Undefined: the user's default project if he has a role there, else none. */
  readonly scope?: RequestedScope | undefined;
  /** Where the request comes from, to count failures by. */
  readonly address: string;
}

export type Proof =
  | { readonly method: "password"; readonly user: UserReference; readonly password: string }
  | { readonly method: "token"; readonly token: string }
  | { readonly method: "application_credential"; readonly credential: CredentialReference; readonly secret: string };

export type UserReference = { readonly id: UserId } | { readonly name: string; readonly domain: DomainReference };
export type CredentialReference = { readonly id: string } | { readonly name: string; readonly user: UserReference };
export type RequestedScope =
  | { readonly kind: "unscoped" | "system" }
  | { readonly kind: "project"; readonly project: ProjectReference }
  | { readonly kind: "domain"; readonly domain: DomainReference };

export interface IssuedToken {
  /** For X-Subject-Token. */
  readonly text: string;
  readonly subject: Subject;
}

/** What a proof shows. A token and an application credential also bound what can be made of them. */
interface Proven {
  readonly user: User;
  readonly methods: readonly string[];
  readonly credential?: ApplicationCredential | undefined;
  readonly parent?: Token | undefined;
}

interface LoginOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly tokenLifetimeMs: number;
  readonly signed: SignedTokens;
  readonly tokens: Tokens;
  readonly passwords: Passwords;
  readonly attempts: LoginAttempts;
}

const AUDIT_ID_BYTES = 16;

/** One message for all ways in which a name or secret can be wrong: it must not tell which users exist. */
const WRONG_SECRET = "The user, or the secret, is wrong.";

/** Makes tokens out of passwords, application credentials and other tokens. */
export class Login {
  readonly #options: LoginOptions;

  constructor(options: LoginOptions) {
    this.#options = options;
  }

  /** `unauthorized` where a proof is wrong or the user has no role in the scope; `too_many_requests` after repeated failures. */
  async issue({ proofs, scope, address }: LoginRequest): Promise<IssuedToken> {
    const proven: Proven[] = [];
    for (const proof of proofs) proven.push(await this.#prove(proof, address));
    const all = merge(proven);
    const { credential, parent } = all;
    const bounds = credential ?? parent?.applicationCredentialId;
    const subject = bounds === undefined ? await this.#scoped(all, scope) : await this.#scopedByCredential(all, scope);
    const text = await this.#options.signed.sign(subject.token);
    return { text, subject };
  }

  async #prove(proof: Proof, address: string): Promise<Proven> {
    switch (proof.method) {
      case "password":
        return this.#provePassword(proof.user, proof.password, address);
      case "token":
        return this.#proveToken(proof.token);
      case "application_credential":
        return this.#proveCredential(proof.credential, proof.secret, address);
      default:
        return proof satisfies never;
    }
  }

  async #provePassword(reference: UserReference, password: string, address: string): Promise<Proven> {
    const user = await this.#findUser(reference);
    const hash = user && (await findPasswordHash(this.#options.db, user.id));
    await this.#verify(password, hash, `${address} user ${user?.id ?? JSON.stringify(reference)}`);
    if (!user) throw new AppError("unauthorized", WRONG_SECRET);
    return { user, methods: ["password"] };
  }

  async #proveCredential(reference: CredentialReference, secret: string, address: string): Promise<Proven> {
    const { db } = this.#options;
    const credential = await this.#findCredential(reference);
    const hash = credential && (await findSecretHash(db, credential.id));
    await this.#verify(secret, hash, `${address} credential ${credential?.id ?? JSON.stringify(reference)}`);
    const user = credential && (await findUser(db, credential.userId));
    if (!user) throw new AppError("unauthorized", WRONG_SECRET);
    return { user, methods: ["application_credential"], credential };
  }

  async #proveToken(text: string): Promise<Proven> {
    const { token } = await this.#options.tokens.check(text);
    const user = await findUser(this.#options.db, token.userId);
    if (!user) throw new AppError("unauthorized", "The user of the token is gone.");
    return { user, methods: ["token", ...token.methods], parent: token };
  }

  /** `name` is what failures are counted by; of what exists it is the id, since there are many ways to write a name. */
  async #verify(secret: string, hash: string | undefined, name: string): Promise<void> {
    const { attempts, passwords } = this.#options;
    attempts.refuseWhilePaused(name);
    const right = await passwords.verify(secret, hash);
    attempts.refuseWhilePaused(name);
    if (right) return attempts.succeeded(name);
    attempts.failed(name);
    throw new AppError("unauthorized", WRONG_SECRET);
  }

  async #findUser(reference: UserReference): Promise<User | undefined> {
    const { db } = this.#options;
    if ("id" in reference) return findUser(db, reference.id);
    const domain = await resolveDomain(db, reference.domain);
    return domain && findUserByName(db, domain.id, reference.name);
  }

  async #findCredential(reference: CredentialReference): Promise<ApplicationCredential | undefined> {
    const { db } = this.#options;
    if ("id" in reference) return findApplicationCredential(db, reference.id);
    const user = await this.#findUser(reference.user);
    return user && findApplicationCredentialByName(db, user.id, reference.name);
  }

  async #scoped(proven: Proven, requested: RequestedScope | undefined): Promise<Subject> {
    if (requested) return this.#subject(proven, await this.#resolveScope(requested));
    const { defaultProjectId } = proven.user;
    if (defaultProjectId !== undefined) {
      const subject = await this.#options.tokens.lookUp(this.#token(proven, { kind: "project", projectId: defaultProjectId }));
      if (typeof subject !== "string") return subject;
    }
    return this.#subject(proven, { kind: "unscoped" });
  }

  /** An application credential, and a token that was made from one, are good for their own project only. */
  async #scopedByCredential(proven: Proven, requested: RequestedScope | undefined): Promise<Subject> {
    const own = ownScope(proven);
    const wanted = requested ? await this.#resolveScope(requested) : own;
    if (wanted.kind !== "project" || own.kind !== "project" || wanted.projectId !== own.projectId) {
      throw new AppError("unauthorized", "An application credential is good for its own project only.");
    }
    return this.#subject(proven, own);
  }

  async #resolveScope(requested: RequestedScope): Promise<Scope> {
    const { db } = this.#options;
    if (requested.kind === "project") {
      const project = await resolveProject(db, requested.project);
      if (!project) throw new AppError("unauthorized", "There is no such project, or you have no role on it.");
      return { kind: "project", projectId: project.id };
    }
    if (requested.kind !== "domain") return { kind: requested.kind };
    const domain = await resolveDomain(db, requested.domain);
    if (!domain) throw new AppError("unauthorized", "There is no such domain, or you have no role on it.");
    return { kind: "domain", domainId: domain.id };
  }

  async #subject(proven: Proven, scope: Scope): Promise<Subject> {
    const subject = await this.#options.tokens.lookUp(this.#token(proven, scope));
    if (typeof subject !== "string") return subject;
    throw new AppError("unauthorized", scope.kind === "unscoped" ? subject : `There is no such ${scope.kind}, or you have no role on it.`);
  }

  #token({ user, methods, credential, parent }: Proven, scope: Scope): Token {
    const { clock, tokenLifetimeMs } = this.#options;
    const issuedAtMs = clock.nowMs();
    const ends = [issuedAtMs + tokenLifetimeMs, parent?.expiresAtMs, credential?.expiresAtMs].filter((end) => end !== undefined);
    const auditId = randomBytes(AUDIT_ID_BYTES).toString("base64url");
    const root = parent?.auditIds.at(-1);
    return {
      userId: user.id,
      scope,
      methods: [...new Set(methods)],
      auditIds: root === undefined ? [auditId] : [auditId, root],
      issuedAtMs,
      expiresAtMs: Math.min(...ends),
      applicationCredentialId: credential?.id ?? parent?.applicationCredentialId,
    };
  }
}

function ownScope({ credential, parent }: Proven): Scope {
  if (credential) return { kind: "project", projectId: credential.projectId };
  return parent?.scope ?? { kind: "unscoped" };
}

function merge(proven: readonly Proven[]): Proven {
  const [first] = proven;
  if (!first) throw new AppError("bad_request", "auth.identity.methods must name a method.");
  if (proven.some(({ user }) => user.id !== first.user.id)) throw new AppError("unauthorized", "The methods prove different users.");
  return {
    user: first.user,
    methods: proven.flatMap(({ methods }) => methods),
    credential: proven.find(({ credential }) => credential)?.credential,
    parent: proven.find(({ parent }) => parent)?.parent,
  };
}

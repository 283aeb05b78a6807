import type { Database } from "#/db/database.ts";
import { findTokenState, insertRevocation, listTokenRoles, removeRevocationsBefore, type TokenState } from "#/db/identity/tokens.ts";
import { AppError } from "#/domain/errors.ts";
import { hasRole, type Role, type Subject, type SubjectScope, type Token } from "#/domain/identity.ts";
import { withImpliedRoles } from "#/domain/roles.ts";
import type { Clock } from "#/lib/clock.ts";
import { isAdministrator, isOverseer } from "./access.ts";
import type { SignedTokens } from "./signed-tokens.ts";

/** Tokens that exist: what they say now, and their end. */
export class Tokens {
  readonly #db: Database;
  readonly #clock: Clock;
  readonly #signed: SignedTokens;

  constructor(options: { db: Database; clock: Clock; signed: SignedTokens }) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#signed = options.signed;
  }

  /** Who the token speaks for; `unauthorized` where it is missing, false, expired or revoked, or what it stands on is gone. Two queries. */
  async check(text: string | undefined): Promise<Subject> {
    if (text === undefined) throw new AppError("unauthorized", "The request needs a token, in the header X-Auth-Token.");
    const subject = await this.lookUp(await this.#signed.read(text));
    if (typeof subject === "string") throw new AppError("unauthorized", subject);
    return subject;
  }

  /** The subject of a token whose signature is known to be good, or the reason why it is not valid. */
  async lookUp(token: Token): Promise<Subject | string> {
    const state = await findTokenState(this.#db, token);
    const obstacle = this.#obstacle(token, state);
    if (!state || obstacle !== undefined) return obstacle ?? "The user is gone.";
    const scope = scopeOf(token, state);
    if (!scope) return "What the token is scoped to is gone.";
    const roles = effectiveRoles(token, await listTokenRoles(this.#db, token));
    if (roles.length === 0 && scope.kind !== "unscoped") return "The user has no role there.";
    const { user, applicationCredential } = state;
    return { token, user, scope, roles, ...(applicationCredential && { applicationCredential }) };
  }

  /** A token shown to somebody: `not_found` where it is not valid, `forbidden` to users that it does not belong to. */
  async show(asker: Subject, text: string): Promise<Subject> {
    const subject = await this.#checkOther(text);
    if (subject.user.id !== asker.user.id && !isOverseer(asker) && !hasRole(asker, "service")) {
      throw new AppError("forbidden", "You may look at your own tokens only.");
    }
    return subject;
  }

  /** Ends the token at once; others of its user live on. */
  async revoke(asker: Subject, text: string): Promise<void> {
    const { user, token } = await this.#checkOther(text);
    if (user.id !== asker.user.id && !isAdministrator(asker)) throw new AppError("forbidden", "You may revoke your own tokens only.");
    await insertRevocation(this.#db, token.auditIds[0], token.expiresAtMs);
    await removeRevocationsBefore(this.#db, this.#clock.nowMs());
  }

  async #checkOther(text: string): Promise<Subject> {
    return this.check(text).catch((cause: unknown) => {
      if (cause instanceof AppError && cause.code === "unauthorized") throw new AppError("not_found", "There is no such token.", { cause });
      throw cause;
    });
  }

  #obstacle(token: Token, state: TokenState | undefined): string | undefined {
    if (!state) return "The user of the token is gone.";
    if (state.revoked || token.issuedAtMs < state.tokensValidFromMs) return "The token was revoked.";
    if (!state.enabled) return "The user of the token, or what it is scoped to, is disabled.";
    if (token.applicationCredentialId === undefined) return undefined;
    const { applicationCredential } = state;
    if (!applicationCredential) return "The application credential of the token is gone.";
    const expired = applicationCredential.expiresAtMs !== undefined && applicationCredential.expiresAtMs <= this.#clock.nowMs();
    return expired ? "The application credential of the token has expired." : undefined;
  }
}

/** An application credential has the roles that it was given, as far as its user still has them. */
function effectiveRoles(token: Token, { assigned, delegated }: { assigned: Role[]; delegated: Role[] }): Role[] {
  const roles = withImpliedRoles(assigned);
  if (token.applicationCredentialId === undefined) return roles;
  const given = new Set(delegated.map(({ id }) => id));
  return withImpliedRoles(roles.filter(({ id }) => given.has(id)));
}

function scopeOf({ scope }: Token, { project, domain }: TokenState): SubjectScope | undefined {
  if (scope.kind === "project") return project && { kind: "project", project };
  if (scope.kind === "domain") return domain && { kind: "domain", domain };
  return scope;
}

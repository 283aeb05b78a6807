import { randomBytes } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import type { Database } from "#/db/database.ts";
import { AppError } from "#/domain/errors.ts";
import type { Scope, Token } from "#/domain/identity.ts";
import { projectId, userId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";

const ALGORITHM = "HS256";
const KEY_SETTING = "identity.token_key";
const KEY_BYTES = 32;
/** Tokens whose signature need not be computed again: about 1 MB. */
const KNOWN_MAX = 2000;

/** Tokens as their bearers see them: JSON Web Tokens, signed with a key that is made once and kept in the database. */
export class SignedTokens {
  readonly #key: Uint8Array;
  readonly #clock: Clock;
  readonly #known = new Map<string, Token>();

  static async open(db: Database, clock: Clock): Promise<SignedTokens> {
    return new SignedTokens(await signingKey(db), clock);
  }

  private constructor(key: Uint8Array, clock: Clock) {
    this.#key = key;
    this.#clock = clock;
  }

  async sign(token: Token): Promise<string> {
    return new SignJWT(claimsOf(token)).setProtectedHeader({ alg: ALGORITHM }).sign(this.#key);
  }

  /** The token, if its signature is ours and its time has not run out; else `unauthorized`. */
  async read(text: string): Promise<Token> {
    const token = this.#known.get(text) ?? (await this.#verify(text));
    if (token.expiresAtMs <= this.#clock.nowMs()) throw new AppError("unauthorized", "The token has expired.");
    return token;
  }

  async #verify(text: string): Promise<Token> {
    const { payload } = await jwtVerify<Claims>(text, this.#key, {
      algorithms: [ALGORITHM],
      currentDate: new Date(this.#clock.nowMs()),
    }).catch((cause: unknown) => {
      throw new AppError("unauthorized", "The token is not valid, or has expired.", { cause });
    });
    const token = tokenOf(payload);
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(text, token);
    return token;
  }
}

/** Names as short as JWT's own (RFC 7519, RFC 8176 for `amr`): tokens go with every request. */
interface Claims {
  sub: string;
  iat: number;
  exp: number;
  amr: readonly string[];
  aid: readonly [string, ...string[]];
  prj?: string;
  dom?: string;
  sys?: true;
  cred?: string;
  [name: string]: unknown;
}

function claimsOf(token: Token): Claims {
  return {
    sub: token.userId,
    iat: token.issuedAtMs / 1000, // With its fraction: what ends all older tokens is compared with it.
    exp: token.expiresAtMs / 1000,
    amr: token.methods,
    aid: token.auditIds,
    ...scopeClaims(token.scope),
    ...(token.applicationCredentialId !== undefined && { cred: token.applicationCredentialId }),
  };
}

function scopeClaims(scope: Scope): Pick<Claims, "prj" | "dom" | "sys"> {
  switch (scope.kind) {
    case "project":
      return { prj: scope.projectId };
    case "domain":
      return { dom: scope.domainId };
    case "system":
      return { sys: true };
    case "unscoped":
      return {};
    default:
      return scope satisfies never;
  }
}

function tokenOf(claims: Claims): Token {
  return {
    userId: userId(claims.sub),
    scope: scopeOf(claims),
    methods: claims.amr,
    auditIds: claims.aid,
    issuedAtMs: Math.round(claims.iat * 1000),
    expiresAtMs: Math.round(claims.exp * 1000),
    applicationCredentialId: claims.cred,
  };
}

function scopeOf({ prj, dom, sys }: Claims): Scope {
  if (prj !== undefined) return { kind: "project", projectId: projectId(prj) };
  if (dom !== undefined) return { kind: "domain", domainId: dom };
  return sys ? { kind: "system" } : { kind: "unscoped" };
}

async function signingKey(db: Database): Promise<Uint8Array> {
  const value = randomBytes(KEY_BYTES).toString("base64url");
  await db
    .insertInto("setting")
    .values({ name: KEY_SETTING, value })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const kept = await db.selectFrom("setting").select("value").where("name", "=", KEY_SETTING).executeTakeFirstOrThrow();
  return Buffer.from(kept.value, "base64url");
}

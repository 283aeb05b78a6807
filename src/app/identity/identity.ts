import type { Database } from "#/db/database.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { hasRole } from "#/domain/identity.ts";
import { projectId, userId } from "#/domain/ids.ts";
import type { Clock } from "#/lib/clock.ts";
import { ApplicationCredentials } from "./application-credentials.ts";
import { Domains } from "./domains.ts";
import { Login } from "./login.ts";
import { LoginAttempts } from "./login-attempts.ts";
import { Passwords } from "./passwords.ts";
import { Projects } from "./projects.ts";
import { RoleAssignments } from "./role-assignments.ts";
import { Roles } from "./roles.ts";
import { SignedTokens } from "./signed-tokens.ts";
import { Tokens } from "./tokens.ts";
import { Users } from "./users.ts";

export interface IdentityOptions {
  readonly db: Database;
  readonly clock: Clock;
  /** How long a token is good for. */
  readonly tokenLifetimeMs: number;
  readonly passwords?: Passwords;
}

/** The parts of Identity, built once. `bootstrapIdentity()` must have filled the database. */
export class Identity {
  readonly login: Login;
  readonly tokens: Tokens;
  readonly domains: Domains;
  readonly projects: Projects;
  readonly users: Users;
  readonly roles: Roles;
  readonly roleAssignments: RoleAssignments;
  readonly applicationCredentials: ApplicationCredentials;

  static async open(options: IdentityOptions): Promise<Identity> {
    return new Identity(options, await SignedTokens.open(options.db, options.clock));
  }

  private constructor({ db, clock, tokenLifetimeMs, passwords = new Passwords() }: IdentityOptions, signed: SignedTokens) {
    const attempts = new LoginAttempts(clock);
    this.tokens = new Tokens({ db, clock, signed });
    this.login = new Login({ db, clock, tokenLifetimeMs, signed, tokens: this.tokens, passwords, attempts });
    this.domains = new Domains(db);
    this.projects = new Projects(db);
    this.users = new Users({ db, clock, passwords, attempts });
    this.roles = new Roles(db);
    this.roleAssignments = new RoleAssignments(db);
    this.applicationCredentials = new ApplicationCredentials({ db, clock, passwords });
  }

  /**
   * Who makes a request to the other APIs: they work on projects, so the token must be scoped to one. A service token
   * (X-Service-Token) that is sent must be good, and adds `isService` if its user has the role.
   */
  async authenticate({ token, serviceToken, requestId }: RequestCredentials): Promise<Caller> {
    const { user, scope, roles } = await this.tokens.check(token);
    if (scope.kind !== "project") throw new AppError("forbidden", "The token must be scoped to a project for this call.");
    const service = serviceToken === undefined ? undefined : await this.tokens.check(serviceToken);
    return {
      userId: userId(user.id),
      userName: user.name,
      projectId: projectId(scope.project.id),
      roles: new Set(roles.map(({ name }) => name)),
      requestId,
      isService: service !== undefined && hasRole(service, "service"),
    };
  }
}

interface RequestCredentials {
  readonly token: string | undefined;
  readonly serviceToken: string | undefined;
  readonly requestId: string;
}

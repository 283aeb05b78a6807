import type { InjectOptions, LightMyRequestResponse } from "fastify";
import { pino } from "pino";
import { bootstrapIdentity } from "#/app/identity/bootstrap.ts";
import { Identity } from "#/app/identity/identity.ts";
import { Passwords } from "#/app/identity/passwords.ts";
import type { Database } from "#/db/database.ts";
import { type Clock, systemClock } from "#/lib/clock.ts";
import { HOUR_MS } from "#/lib/units.ts";
import { registerIdentity } from "./identity/v3/routes.ts";
import { createServer, type Server } from "./server.ts";
import { openMemoryDatabase } from "../../test/support/memory-database.ts";

/** The administrator's password of every test server. */
export const ADMIN_PASSWORD = "secret of the tests";

export interface TestServerOptions {
  /** Adds the APIs under test; Identity is there already. */
  readonly register?: (app: Server) => void;
  /** Looks at the server before it has any route. */
  readonly beforeRoutes?: (app: Server) => void;
  /** A database that is shared with the APIs under test; undefined: an empty one in memory. */
  readonly db?: Database;
  readonly clock?: Clock;
  readonly tokenLifetimeMs?: number;
  readonly publicUrl?: string;
}

export interface TestRequest {
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
  /** An object is sent as JSON. */
  readonly body?: InjectOptions["payload"];
}

/** A token, and who it speaks for. */
export interface Session {
  readonly token: string;
  readonly userId: string;
  readonly projectId: string;
}

/** A server in this process with a real database and Identity, asked without a network. Close it with `await using`. */
export class TestServer {
  readonly app: Server;
  readonly db: Database;
  readonly identity: Identity;
  #adminToken: string | undefined;

  static async start(options: TestServerOptions = {}): Promise<TestServer> {
    const { clock = systemClock, tokenLifetimeMs = HOUR_MS } = options;
    const db = options.db ?? (await openMemoryDatabase());
    const passwords = new Passwords({ N: 2, r: 1, p: 1 }); // As cheap as can be: the tests are not about guessing.
    await bootstrapIdentity(db, { clock, adminPassword: ADMIN_PASSWORD, passwords });
    const identity = await Identity.open({ db, clock, tokenLifetimeMs, passwords });
    const app = createServer({ authenticate: (credentials) => identity.authenticate(credentials), log: pino({ enabled: false }) });
    options.beforeRoutes?.(app);
    registerIdentity(app, { identity, publicUrl: options.publicUrl });
    options.register?.(app);
    await app.ready();
    return new TestServer(app, db, identity);
  }

  private constructor(app: Server, db: Database, identity: Identity) {
    this.app = app;
    this.db = db;
    this.identity = identity;
  }

  async request(method: NonNullable<InjectOptions["method"]>, path: string, request: TestRequest = {}): Promise<LightMyRequestResponse> {
    const headers = { ...(request.token !== undefined && { "x-auth-token": request.token }), ...request.headers };
    return this.app.inject({ method, url: path, headers, ...(request.body !== undefined && { payload: request.body }) });
  }

  /** A token of the user for the project; both are made where they are missing, with these roles. The admin's own project is "admin". */
  async login(user: string, project: string, roles: readonly string[] = ["member"]): Promise<Session> {
    if (user === "admin") return this.#session("admin", project, ADMIN_PASSWORD);
    const projectId = await this.#ensure("projects", "project", { name: project });
    const userId = await this.#ensure("users", "user", { name: user, password: user });
    for (const role of roles) await this.#asAdmin("PUT", `projects/${projectId}/users/${userId}/roles/${role}`);
    return this.#session(user, project, user);
  }

  async #session(user: string, project: string, password: string): Promise<Session> {
    const domain = { id: "default" };
    const identity = { methods: ["password"], password: { user: { name: user, domain, password } } };
    const answer = await this.request("POST", "/identity/v3/auth/tokens", {
      body: { auth: { identity, scope: { project: { name: project, domain } } } },
    });
    if (answer.statusCode !== 201) throw new Error(`Cannot log in as ${user}: ${answer.body}`);
    const { token } = answer.json<{ token: { user: { id: string }; project: { id: string } } }>();
    return { token: String(answer.headers["x-subject-token"]), userId: token.user.id, projectId: token.project.id };
  }

  async #ensure(plural: string, singular: string, fields: { name: string; password?: string }): Promise<string> {
    const found = await this.#asAdmin("GET", `${plural}?name=${encodeURIComponent(fields.name)}`);
    const [record] = found.json<Record<string, { id: string }[]>>()[plural] ?? [];
    if (record) return record.id;
    const made = await this.#asAdmin("POST", plural, { [singular]: fields });
    return made.json<Record<string, { id: string }>>()[singular]?.id ?? "";
  }

  async #asAdmin(method: "GET" | "POST" | "PUT", path: string, body?: object): Promise<LightMyRequestResponse> {
    this.#adminToken ??= (await this.#session("admin", "admin", ADMIN_PASSWORD)).token;
    const answer = await this.request(method, `/identity/v3/${path}`, { token: this.#adminToken, ...(body && { body }) });
    if (answer.statusCode >= 400) throw new Error(`${method} ${path}: ${answer.body}`);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.app.close();
    await this.db.destroy();
  }
}

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { SignJWT } from "jose";
import type { KyselyPlugin } from "kysely";
import { openDatabase } from "#/db/database.ts";
import { HOUR_MS, MINUTE_MS } from "#/lib/units.ts";
import { ADMIN_PASSWORD, type Session, TestServer } from "../../test-server.ts";
import { openMemoryDatabase } from "../../../../test/support/memory-database.ts";

const DOMAIN = { id: "default" };

interface TokenBody {
  methods: string[];
  user: { id: string; name: string; domain: { id: string; name: string } };
  audit_ids: string[];
  issued_at: string;
  expires_at: string;
  project?: { id: string; name: string; domain: { id: string; name: string } };
  domain?: { id: string };
  system?: { all: boolean };
  roles?: { id: string; name: string }[];
  catalog?: { type: string; endpoints: { interface: string; url: string }[] }[];
  application_credential?: { id: string; name: string; restricted: boolean };
}

describe("POST /v3/auth/tokens", () => {
  it("gives a token for a project, with roles and catalog as Keystone shows them", async () => {
    await using server = await TestServer.start({ clock: { nowMs: () => Date.UTC(2026, 0, 31, 12) } });
    const ann = await server.login("ann", "blue", ["member"]);
    const { token, text } = await issue(server, passwordOf("ann"), { project: { id: ann.projectId } });
    assert.ok(text.length < 1000, "the token must fit into a header");
    assert.deepEqual(token.methods, ["password"]);
    assert.deepEqual(token.user, { id: ann.userId, name: "ann", domain: { id: "default", name: "Default" }, password_expires_at: null });
    assert.deepEqual(token.project, { id: ann.projectId, name: "blue", domain: { id: "default", name: "Default" } });
    assert.deepEqual(token.roles, [
      { id: "member", name: "member" },
      { id: "reader", name: "reader" },
    ]);
    assert.deepEqual([token.issued_at, token.expires_at], ["2026-01-31T12:00:00.000000Z", "2026-01-31T13:00:00.000000Z"]);
    assert.equal(token.audit_ids.length, 1);
    const urls = token.catalog?.map(({ type, endpoints }) => [type, endpoints.find((endpoint) => endpoint.interface === "public")?.url]);
    assert.deepEqual(urls, [
      ["identity", "http://localhost:80/identity"],
      ["image", "http://localhost:80/image"],
      ["volumev3", `http://localhost:80/volume/v3/${ann.projectId}`],
      ["block-storage", `http://localhost:80/volume/v3/${ann.projectId}`],
      ["compute", "http://localhost:80/compute/v2.1"],
    ]);
  });

  it("leaves out the catalog with ?nocatalog", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    const auth = authOf(passwordOf("ann"), { project: { id: ann.projectId } });
    const answer = await server.request("POST", "/identity/v3/auth/tokens?nocatalog", { body: auth });
    assert.equal(answer.json<{ token: TokenBody }>().token.catalog, undefined);
  });

  it("takes users and projects by id, and by name with their domain, whose name has no case", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    const users = [
      { id: ann.userId, password: "ann" },
      { name: "ann", domain: { name: "Default" }, password: "ann" },
      { name: "ann", domain: { name: "default" }, password: "ann" },
    ];
    const projects = [{ id: ann.projectId }, { name: "blue", domain: { name: "DEFAULT" } }, { name: "blue", domain: DOMAIN }];
    for (const user of users) {
      for (const project of projects) {
        const { token } = await issue(server, { methods: ["password"], password: { user } }, { project });
        assert.deepEqual([token.user.id, token.project?.id], [ann.userId, ann.projectId]);
      }
    }
  });

  it("scopes to the default project where none is asked for, else to nothing", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    assert.equal((await issue(server, passwordOf("ann"))).token.project, undefined);
    await change(server, `users/${ann.userId}`, { user: { default_project_id: ann.projectId } });
    assert.equal((await issue(server, passwordOf("ann"))).token.project?.id, ann.projectId);
    const unscoped = (await issue(server, passwordOf("ann"), "unscoped")).token;
    assert.deepEqual([unscoped.project, unscoped.roles, unscoped.catalog], [undefined, undefined, undefined]);
    await change(server, `projects/${ann.projectId}`, { project: { enabled: false } });
    assert.equal((await issue(server, passwordOf("ann"))).token.project, undefined);
  });

  it("scopes to the system and to a domain where the user has a role there", async () => {
    await using server = await TestServer.start();
    const admin = await server.login("admin", "admin");
    const proof = { methods: ["password"], password: { user: { name: "admin", domain: DOMAIN, password: ADMIN_PASSWORD } } };
    assert.deepEqual((await issue(server, proof, { system: { all: true } })).token.system, { all: true });
    assert.equal((await login(server, proof, { domain: DOMAIN })).statusCode, 401);
    await server.request("PUT", `/identity/v3/domains/default/users/${admin.userId}/roles/admin`, { token: admin.token });
    const domain = await issue(server, proof, { domain: { name: "Default" } });
    assert.equal(domain.token.domain?.id, "default");
    assert.equal((await server.request("GET", "/identity/v3/users", { token: domain.text })).statusCode, 403);
    const domains = await server.request("GET", "/identity/v3/auth/domains", { token: domain.text });
    assert.deepEqual(domains.json<{ domains: { id: string }[] }>().domains.map(({ id }) => id), ["default"]);
  });

  it("exchanges a token for one of another scope, that ends no later", async () => {
    let nowMs = Date.UTC(2026, 0, 31);
    await using server = await TestServer.start({ clock: { nowMs: () => nowMs } });
    const { projectId } = await server.login("ann", "blue");
    const unscoped = await issue(server, passwordOf("ann"), "unscoped");
    nowMs += MINUTE_MS;
    const scoped = await issue(server, { methods: ["token"], token: { id: unscoped.text } }, { project: { id: projectId } });
    assert.deepEqual(scoped.token.methods, ["token", "password"]);
    assert.equal(scoped.token.expires_at, unscoped.token.expires_at);
    assert.equal(scoped.token.audit_ids.at(-1), unscoped.token.audit_ids[0]);
  });

  const user = { name: "ann", domain: DOMAIN, password: "ann" };
  const wrongUsers = [{ ...user, password: "no" }, { ...user, name: "nobody" }, { ...user, domain: { id: "none" } }, { id: "none", password: "ann" }];
  for (const [name, identity, scope, status] of [
    ...wrongUsers.map((wrong) => [`the user ${JSON.stringify(wrong)}`, { methods: ["password"], password: { user: wrong } }, undefined, 401] as const),
    ["a user without a domain", { methods: ["password"], password: { user: { name: "ann", password: "ann" } } }, undefined, 400],
    ["a method without its part", { methods: ["password"] }, undefined, 400],
    ["a method that is not known", { methods: ["totp"] }, undefined, 401],
    ["no method", { methods: [] }, undefined, 400],
    ["a false token", { methods: ["token"], token: { id: "gAAAAAB" } }, undefined, 401],
    ["a project without a role", { methods: ["password"], password: { user } }, { project: { name: "green", domain: DOMAIN } }, 401],
    ["an unknown project", { methods: ["password"], password: { user } }, { project: { id: "none" } }, 401],
    ["a project without its domain", { methods: ["password"], password: { user } }, { project: { name: "blue" } }, 400],
    ["the system without a role", { methods: ["password"], password: { user } }, { system: { all: true } }, 401],
    ["two scopes", { methods: ["password"], password: { user } }, { system: { all: true }, domain: DOMAIN }, 400],
    ["a number for a password", { methods: ["password"], password: { user: { ...user, password: 5 } } }, undefined, 400],
  ] as const) {
    it(`answers ${status} to ${name}`, async () => {
      await using server = await TestServer.start();
      await server.login("ann", "blue");
      await server.login("bob", "green");
      assert.equal((await login(server, identity, scope)).statusCode, status);
    });
  }

  it("says the same of a wrong password and of an unknown user", async () => {
    await using server = await TestServer.start();
    await server.login("ann", "blue");
    const [wrong, unknown] = [await login(server, passwordOf("ann", "no")), await login(server, passwordOf("nobody", "no"))];
    assert.equal(wrong.body, unknown.body);
  });

  it("answers 429 after five failures from one address, until a minute has passed", async () => {
    let nowMs = Date.UTC(2026, 0, 31);
    await using server = await TestServer.start({ clock: { nowMs: () => nowMs } });
    await server.login("ann", "blue");
    await server.login("bob", "blue");
    for (let guess = 0; guess < 5; guess++) assert.equal((await login(server, passwordOf("ann", `${guess}`))).statusCode, 401);
    const paused = await login(server, passwordOf("ann"));
    assert.deepEqual([paused.statusCode, paused.headers["retry-after"] !== undefined], [429, true]);
    assert.equal((await login(server, passwordOf("bob"))).statusCode, 201);
    nowMs += MINUTE_MS;
    assert.equal((await login(server, passwordOf("ann"))).statusCode, 201);
  });
});

describe("a token", () => {
  /** What ends a token of ann for "blue", and the status that it gets then. */
  const ENDS: Record<string, (server: TestServer, ann: Session) => Promise<unknown>> = {
    "it is revoked": (server, { token }) =>
      server.request("DELETE", "/identity/v3/auth/tokens", { token, headers: { "x-subject-token": token } }),
    "its user is disabled": (server, { userId }) => change(server, `users/${userId}`, { user: { enabled: false } }),
    "its user was disabled and enabled again": async (server, { userId }) => {
      await change(server, `users/${userId}`, { user: { enabled: false } });
      await change(server, `users/${userId}`, { user: { enabled: true } });
    },
    "its user gets a new password": (server, { userId }) => change(server, `users/${userId}`, { user: { password: "new" } }),
    "its user changes his password": (server, { userId, token }) =>
      server.request("POST", `/identity/v3/users/${userId}/password`, { token, body: { user: { original_password: "ann", password: "new" } } }),
    "its user is deleted": (server, { userId }) => remove(server, `users/${userId}`),
    "its project is disabled": (server, { projectId }) => change(server, `projects/${projectId}`, { project: { enabled: false } }),
    "its project is deleted": (server, { projectId }) => remove(server, `projects/${projectId}`),
    "its domain is disabled": (server) => change(server, "domains/default", { domain: { enabled: false } }),
    "its last role is taken": (server, { userId, projectId }) => remove(server, `projects/${projectId}/users/${userId}/roles/member`),
  };
  for (const [name, end] of Object.entries(ENDS)) {
    it(`ends when ${name}, at once`, async () => {
      let nowMs = Date.UTC(2026, 0, 31);
      await using server = await TestServer.start({ clock: { nowMs: () => nowMs } });
      const ann = await server.login("ann", "blue", ["member"]);
      assert.equal(await statusOf(server, ann.token), 200);
      nowMs += 1;
      await end(server, ann);
      assert.equal(await statusOf(server, ann.token), 401);
    });
  }

  it("ends when the domain of its project is disabled, though its user's is not", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    await server.db.insertInto("domain").values({ id: "lab", name: "lab", description: "", enabled: 1 }).execute();
    await server.db.updateTable("project").set({ domain_id: "lab" }).where("id", "=", ann.projectId).execute();
    assert.equal(await statusOf(server, ann.token), 200);
    await change(server, "domains/lab", { domain: { enabled: false } });
    assert.equal(await statusOf(server, ann.token), 401);
  });

  it("ends when its time is over", async () => {
    let nowMs = Date.UTC(2026, 0, 31);
    await using server = await TestServer.start({ clock: { nowMs: () => nowMs }, tokenLifetimeMs: HOUR_MS });
    const { token } = await server.login("ann", "blue");
    nowMs += HOUR_MS - 1;
    assert.equal(await statusOf(server, token), 200);
    nowMs += 1;
    assert.equal(await statusOf(server, token), 401);
  });

  it("loses a role with its user, and keeps the others", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue", ["member", "reader"]);
    await remove(server, `projects/${ann.projectId}/users/${ann.userId}/roles/member`);
    const { roles } = await server.identity.authenticate({ token: ann.token, serviceToken: undefined, requestId: "req-1" });
    assert.deepEqual([...roles], ["reader"]);
  });

  it("is not believed when it is changed, unsigned, or signed with another key", async () => {
    await using server = await TestServer.start();
    const { token } = await server.login("ann", "blue");
    const [header = "", claims = "", signature = ""] = token.split(".");
    const { sub, ...others } = JSON.parse(Buffer.from(claims, "base64url").toString()) as { sub: string };
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const forged = await new SignJWT({ sub, ...others }).setProtectedHeader({ alg: "HS256" }).sign(Buffer.alloc(32));
    const admin = await server.login("admin", "admin");
    for (const text of [
      `${header}.${encode({ ...others, sub: admin.userId })}.${signature}`,
      `${encode({ alg: "none" })}.${claims}.`,
      forged,
      `${token}x`,
      "x".repeat(5000),
    ]) {
      assert.equal(await statusOf(server, text), 401);
    }
  });

  it("is good after a restart, and a revoked one is not", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "mica-tokens-"));
    t.after(async () => rm(directory, { recursive: true }));
    const start = async () => TestServer.start({ db: await openDatabase(join(directory, "mica.db")) });
    const sessions: Session[] = [];
    {
      await using server = await start();
      for (const user of ["ann", "bob"]) sessions.push(await server.login(user, "blue"));
      const token = sessions[1]?.token;
      await server.request("DELETE", "/identity/v3/auth/tokens", { token, headers: { "x-subject-token": `${token}` } });
    }
    await using server = await start();
    assert.deepEqual(await Promise.all(sessions.map(({ token }) => statusOf(server, token))), [200, 401]);
  });

  it("that is unscoped is refused by the other APIs, and a service token adds its role", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    const service = await server.login("nova", "service", ["service"]);
    const authenticate = (token: string, serviceToken?: string) => server.identity.authenticate({ token, serviceToken, requestId: "req-1" });
    const unscoped = await issue(server, passwordOf("ann"), "unscoped");
    await assert.rejects(authenticate(unscoped.text), { code: "forbidden" });
    assert.equal((await authenticate(ann.token)).isService, false);
    assert.equal((await authenticate(ann.token, service.token)).isService, true);
    assert.equal((await authenticate(ann.token, ann.token)).isService, false);
    await assert.rejects(authenticate(ann.token, "false"), { code: "unauthorized" });
  });

  it("is checked with two queries", async () => {
    let queries = 0;
    const count: KyselyPlugin = {
      transformQuery: ({ node }) => node,
      async transformResult({ result }) {
        queries += 1;
        return result;
      },
    };
    await using server = await TestServer.start({ db: (await openMemoryDatabase()).withPlugin(count) });
    const { token } = await server.login("ann", "blue");
    queries = 0;
    await server.identity.tokens.check(token);
    assert.equal(queries, 2);
  });
});

describe("GET /v3/auth/tokens", () => {
  it("shows the token as its making did", async () => {
    await using server = await TestServer.start();
    const { projectId } = await server.login("ann", "blue");
    const { text, token } = await issue(server, passwordOf("ann"), { project: { id: projectId } });
    const answer = await server.request("GET", "/identity/v3/auth/tokens", { token: text, headers: { "x-subject-token": text } });
    assert.deepEqual(answer.json(), { token });
    assert.equal(answer.headers["x-subject-token"], text);
  });

  it("answers 404 to a token that is not valid, and 400 to none", async () => {
    await using server = await TestServer.start();
    const { token } = await server.login("admin", "admin");
    assert.equal((await server.request("GET", "/identity/v3/auth/tokens", { token, headers: { "x-subject-token": "x" } })).statusCode, 404);
    assert.equal((await server.request("GET", "/identity/v3/auth/tokens", { token })).statusCode, 400);
  });
});

function passwordOf(user: string, password = user): object {
  return { methods: ["password"], password: { user: { name: user, domain: DOMAIN, password } } };
}

function authOf(identity: object, scope?: object | string): object {
  return { auth: { identity, ...(scope !== undefined && { scope }) } };
}

async function login(server: TestServer, identity: object, scope?: object | string) {
  return server.request("POST", "/identity/v3/auth/tokens", { body: authOf(identity, scope) });
}

async function issue(server: TestServer, identity: object, scope?: object | string): Promise<{ text: string; token: TokenBody }> {
  const answer = await login(server, identity, scope);
  assert.equal(answer.statusCode, 201, answer.body);
  return { text: String(answer.headers["x-subject-token"]), token: answer.json<{ token: TokenBody }>().token };
}

async function statusOf(server: TestServer, token: string): Promise<number> {
  return (await server.request("GET", "/identity/v3/auth/projects", { token })).statusCode;
}

async function change(server: TestServer, path: string, body: object): Promise<void> {
  const { token } = await server.login("admin", "admin");
  const answer = await server.request("PATCH", `/identity/v3/${path}`, { token, body });
  assert.equal(answer.statusCode, 200, answer.body);
}

async function remove(server: TestServer, path: string): Promise<void> {
  const { token } = await server.login("admin", "admin");
  assert.equal((await server.request("DELETE", `/identity/v3/${path}`, { token })).statusCode, 204);
}

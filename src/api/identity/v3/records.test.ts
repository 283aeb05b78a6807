import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ImageTable } from "#/db/tables.ts";
import { type Session, TestServer } from "../../test-server.ts";

type Json = Record<string, unknown>;

describe("projects", () => {
  it("are made, shown, changed and deleted", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const made = await ask("POST", "projects", { project: { name: "blue", description: "d", tags: [], options: {} } }, 201);
    const { id } = made.project as { id: string };
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.deepEqual(made.project, {
      id,
      name: "blue",
      domain_id: "default",
      parent_id: "default",
      description: "d",
      enabled: true,
      is_domain: false,
      tags: [],
      options: {},
      links: { self: `http://localhost:80/identity/v3/projects/${id}` },
    });
    assert.deepEqual(await ask("GET", `projects/${id}`), made);
    await ask("PATCH", `projects/${id}`, { project: { description: null, enabled: false, name: "azure", domain_id: "default", parent_id: "default" } });
    const { project } = (await ask("GET", `projects/${id}`)) as { project: Json };
    assert.deepEqual([project.name, project.description, project.enabled], ["azure", "", false]);
    await ask("DELETE", `projects/${id}`, undefined, 204);
    await ask("GET", `projects/${id}`, undefined, 404);
  });

  it("nest in others of their domain, which cannot be deleted before", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const parent = (await ask("POST", "projects", { project: { name: "a" } }, 201)).project as { id: string };
    const child = (await ask("POST", "projects", { project: { name: "b", parent_id: parent.id } }, 201)).project as { id: string; parent_id: string };
    assert.equal(child.parent_id, parent.id);
    assert.deepEqual(namesIn(await ask("GET", `projects?parent_id=${parent.id}`), "projects"), ["b"]);
    await ask("DELETE", `projects/${parent.id}`, undefined, 403);
    await ask("PATCH", `projects/${child.id}`, { project: { parent_id: "default" } }, 403);
    await ask("POST", "projects", { project: { name: "c", parent_id: "none" } }, 400);
    await ask("DELETE", `projects/${child.id}`, undefined, 204);
    await ask("DELETE", `projects/${parent.id}`, undefined, 204);
  });

  it("cannot be deleted while they own an image", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const { project } = (await ask("POST", "projects", { project: { name: "blue" } }, 201)) as { project: { id: string } };
    await server.db.insertInto("image").values(queuedImage(project.id)).execute();
    const refusal = await ask("DELETE", `projects/${project.id}`, undefined, 409);
    assert.equal((refusal.error as Json).message, 'Cannot delete project "blue": it owns 1 images.');
    await server.db.deleteFrom("image").execute();
    await ask("DELETE", `projects/${project.id}`, undefined, 204);
  });

  it("are listed in pages, by name, domain and enabled, as Python's clients ask", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    for (const name of ["c", "a", "b"]) await ask("POST", "projects", { project: { name, enabled: name !== "b" } }, 201);
    assert.deepEqual(namesIn(await ask("GET", "projects"), "projects"), ["a", "admin", "b", "c", "service"]);
    assert.deepEqual(namesIn(await ask("GET", "projects?enabled=False"), "projects"), ["b"]);
    assert.deepEqual(namesIn(await ask("GET", "projects?enabled&name=b"), "projects"), []);
    assert.deepEqual(namesIn(await ask("GET", "projects?domain_id=none"), "projects"), []);
    await ask("GET", "projects?enabled=maybe", undefined, 400);
    await ask("GET", "projects?limit=0", undefined, 400);
    const first = await ask("GET", "projects?limit=2");
    assert.deepEqual(namesIn(first, "projects"), ["a", "admin"]);
    const next = new URL((first.links as { next: string }).next);
    assert.deepEqual(namesIn(await ask("GET", `projects${next.search}`), "projects"), ["b", "c"]);
  });
});

describe("users", () => {
  it("are made, shown, changed and deleted, and their passwords are never shown", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const made = await ask("POST", "users", { user: { name: "ann", password: "hush", email: "a@b.example", description: "d" } }, 201);
    const { id } = made.user as { id: string };
    assert.deepEqual(made.user, {
      id,
      name: "ann",
      domain_id: "default",
      description: "d",
      email: "a@b.example",
      enabled: true,
      password_expires_at: null,
      options: {},
      links: { self: `http://localhost:80/identity/v3/users/${id}` },
    });
    await ask("PATCH", `users/${id}`, { user: { name: "anna", email: null, password: null } });
    const { user } = (await ask("GET", `users/${id}`)) as { user: Json };
    assert.deepEqual([user.name, user.email, user.description], ["anna", undefined, "d"]);
    assert.deepEqual(namesIn(await ask("GET", "users?name=anna"), "users"), ["anna"]);
    const kept = await server.db.selectFrom("user").select("password_hash").where("id", "=", id).executeTakeFirstOrThrow();
    assert.match(kept.password_hash, /^scrypt\$/);
    await ask("DELETE", `users/${id}`, undefined, 204);
    await ask("DELETE", `users/${id}`, undefined, 404);
  });

  it("change their own passwords with the old one", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    const change = async (original_password: string) =>
      server.request("POST", `/identity/v3/users/${ann.userId}/password`, {
        token: ann.token,
        body: { user: { original_password, password: "new" } },
      });
    assert.equal((await change("wrong")).statusCode, 401);
    assert.equal((await change("ann")).statusCode, 204);
    await assert.rejects(server.login("ann", "blue"), /Cannot log in/);
  });

  it("lose their default project when it is deleted", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const { project } = (await ask("POST", "projects", { project: { name: "blue" } }, 201)) as { project: { id: string } };
    const { user } = (await ask("POST", "users", { user: { name: "ann", default_project_id: project.id } }, 201)) as { user: Json };
    assert.equal(user.default_project_id, project.id);
    await ask("DELETE", `projects/${project.id}`, undefined, 204);
    assert.equal(((await ask("GET", `users/${user.id}`)).user as Json).default_project_id, undefined);
  });

  it("without a password cannot log in", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const { user } = (await ask("POST", "users", { user: { name: "ann" } }, 201)) as { user: { id: string } };
    for (const password of ["", "x"]) {
      const identity = { methods: ["password"], password: { user: { id: user.id, password } } };
      assert.equal((await server.request("POST", "/identity/v3/auth/tokens", { body: { auth: { identity } } })).statusCode, 401);
    }
  });
});

describe("domains", () => {
  it("keep the names of their users and projects apart, and go when they are disabled", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const { domain } = (await ask("POST", "domains", { domain: { name: "lab" } }, 201)) as { domain: { id: string } };
    await ask("POST", "domains", { domain: { name: "LAB" } }, 409);
    for (const domain_id of ["default", domain.id]) {
      await ask("POST", "users", { user: { name: "ann", domain_id, password: "x" } }, 201);
      await ask("POST", "projects", { project: { name: "blue", domain_id } }, 201);
    }
    await ask("POST", "users", { user: { name: "ann", domain_id: "none" } }, 400);
    assert.deepEqual(namesIn(await ask("GET", `users?domain_id=${domain.id}`), "users"), ["ann"]);
    await ask("DELETE", `domains/${domain.id}`, undefined, 403);
    await ask("PATCH", `domains/${domain.id}`, { domain: { enabled: false } });
    await ask("DELETE", `domains/${domain.id}`, undefined, 204);
    assert.deepEqual(namesIn(await ask("GET", "users?name=ann"), "users"), ["ann"]);
    await ask("DELETE", "domains/default", undefined, 403);
  });
});

describe("roles", () => {
  it("of our own are made, changed and deleted; the built-in ones stay", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const { role } = (await ask("POST", "roles", { role: { name: "auditor" } }, 201)) as { role: { id: string } };
    await ask("PATCH", `roles/${role.id}`, { role: { name: "looker", description: "d" } });
    assert.deepEqual(namesIn(await ask("GET", "roles"), "roles"), ["admin", "looker", "member", "reader", "service"]);
    await ask("DELETE", `roles/${role.id}`, undefined, 204);
    await ask("DELETE", "roles/member", undefined, 403);
    await ask("PATCH", "roles/member", { role: { name: "x" } }, 403);
  });

  it("are given, checked, listed and taken on projects, domains and the system", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const ann = await server.login("ann", "blue", ["member"]);
    for (const place of [`projects/${ann.projectId}`, "domains/default", "system"]) {
      const roles = `${place}/users/${ann.userId}/roles`;
      await ask("GET", `${roles}/service`, undefined, 404);
      for (let again = 0; again < 2; again++) await ask("PUT", `${roles}/service`, undefined, 204);
      await ask("HEAD", `${roles}/service`, undefined, 204);
      assert.ok(namesIn(await ask("GET", roles), "roles").includes("service"));
      await ask("DELETE", `${roles}/service`, undefined, 204);
      await ask("DELETE", `${roles}/service`, undefined, 404);
    }
  });

  it("are listed with names, by user, role and place, and with those that they imply", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const ann = await server.login("ann", "blue", ["member"]);
    const list = async (query: string) => {
      const { role_assignments } = (await ask("GET", `role_assignments?${query}`)) as { role_assignments: Json[] };
      return role_assignments;
    };
    assert.deepEqual(await list(`user.id=${ann.userId}&include_names=True`), [
      {
        user: { id: ann.userId, name: "ann", domain: { id: "default", name: "Default" } },
        role: { id: "member", name: "member" },
        scope: { project: { id: ann.projectId, name: "blue", domain: { id: "default", name: "Default" } } },
        links: { assignment: `http://localhost:80/identity/v3/projects/${ann.projectId}/users/${ann.userId}/roles/member` },
      },
    ]);
    const [bare] = await list(`user.id=${ann.userId}`);
    assert.deepEqual([bare?.user, bare?.role], [{ id: ann.userId }, { id: "member" }]);
    assert.equal((await list(`scope.project.id=${ann.projectId}&effective`)).length, 2);
    assert.equal((await list(`scope.project.id=${ann.projectId}&effective&role.id=reader`)).length, 1);
    assert.equal((await list("role.id=reader")).length, 0);
    assert.deepEqual((await list("scope.system=all")).map(({ scope }) => scope), [{ system: { all: true } }]);
    assert.equal((await list("scope.domain.id=default")).length, 0);
    assert.equal((await list("group.id=x")).length, 0);
  });
});

describe("application credentials", () => {
  it("log in without a password, with the roles that they were given, for their project", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue", ["member"]);
    const made = await newCredential(server, ann, { roles: [{ name: "reader" }] });
    assert.ok(String(made.secret).length >= 64);
    const byName = { name: "robot", user: { name: "ann", domain: { name: "Default" } }, secret: made.secret };
    for (const credential of [{ id: made.id, secret: made.secret }, byName]) {
      const answer = await loginWith(server, credential);
      const { token } = answer.json<{ token: { roles: { id: string }[]; project: { id: string }; application_credential: unknown; methods: string[] } }>();
      assert.deepEqual([token.project.id, token.roles.map(({ id }) => id), token.methods], [ann.projectId, ["reader"], ["application_credential"]]);
      assert.deepEqual(token.application_credential, { id: made.id, name: "robot", restricted: true });
    }
    assert.equal((await loginWith(server, { id: made.id, secret: "wrong" })).statusCode, 401);
    const shown = await server.request("GET", `/identity/v3/users/${ann.userId}/application_credentials/${made.id}`, { token: ann.token });
    assert.ok(!shown.body.includes("secret"));
  });

  it("cannot change their scope, and restricted ones cannot make others", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue", ["member"]);
    await server.login("ann", "green", ["member"]);
    const made = await newCredential(server, ann, {});
    const token = String((await loginWith(server, { id: made.id, secret: made.secret })).headers["x-subject-token"]);
    const rescope = async (scope: unknown) =>
      server.request("POST", "/identity/v3/auth/tokens", { body: { auth: { identity: { methods: ["token"], token: { id: token } }, scope } } });
    assert.equal((await rescope({ project: { id: ann.projectId } })).statusCode, 201);
    assert.equal((await rescope({ project: { name: "green", domain: { id: "default" } } })).statusCode, 401);
    assert.equal((await rescope("unscoped")).statusCode, 401);
    const rescoped = String((await rescope({ project: { id: ann.projectId } })).headers["x-subject-token"]);
    for (const restricted of [token, rescoped]) {
      const path = `/identity/v3/users/${ann.userId}/application_credentials`;
      assert.equal((await server.request("POST", path, { token: restricted, body: { application_credential: { name: "child" } } })).statusCode, 403);
      assert.equal((await server.request("DELETE", `${path}/${made.id}`, { token: restricted })).statusCode, 403);
    }
  });

  it("make others where they are unrestricted", async () => {
    await using server = await TestServer.start();
    const ann = await server.login("ann", "blue");
    const made = await newCredential(server, ann, { unrestricted: true });
    const token = String((await loginWith(server, { id: made.id, secret: made.secret })).headers["x-subject-token"]);
    assert.equal((await newCredential(server, { ...ann, token }, { name: "child" })).name, "child");
  });

  it("end with their deletion, their time, and their user's role, and so do their tokens", async () => {
    let nowMs = Date.UTC(2026, 0, 31);
    await using server = await TestServer.start({ clock: { nowMs: () => nowMs } });
    const ask = await asAdmin(server);
    const ann = await server.login("ann", "blue", ["member"]);
    const path = `users/${ann.userId}/application_credentials`;
    const ends: ((id: string) => Promise<unknown>)[] = [
      async (id) => server.request("DELETE", `/identity/v3/${path}/${id}`, { token: ann.token }),
      async () => (nowMs += 1000),
      async () => ask("DELETE", `projects/${ann.projectId}/users/${ann.userId}/roles/member`, undefined, 204),
    ];
    for (const [index, end] of ends.entries()) {
      const expires_at = index === 1 ? "2026-01-31T00:00:01Z" : undefined;
      const made = await newCredential(server, ann, { name: `robot${index}`, expires_at });
      const proof = { id: made.id, secret: made.secret };
      const token = String((await loginWith(server, proof)).headers["x-subject-token"]);
      const status = async () => (await server.request("GET", "/identity/v3/auth/projects", { token })).statusCode;
      assert.equal(await status(), 200);
      await end(made.id);
      assert.equal(await status(), 401);
      assert.equal((await loginWith(server, proof)).statusCode, 401);
    }
    assert.deepEqual(namesIn(await ask("GET", path), "application_credentials"), []);
  });

  for (const [name, fields, status] of [
    ["a role that the user does not have", { roles: [{ name: "admin" }] }, 400],
    ["no role", { roles: [] }, 400],
    ["an end in the past", { expires_at: "2020-01-01T00:00:00" }, 400],
    ["an end that is no time", { expires_at: "tomorrow" }, 400],
    ["access rules", { access_rules: [{ path: "/v3", method: "GET", service: "volume" }] }, 501],
    ["a name that is taken", { name: "taken" }, 409],
  ] as const) {
    it(`are refused with ${status} for ${name}`, async () => {
      await using server = await TestServer.start();
      const ann = await server.login("ann", "blue");
      await newCredential(server, ann, { name: "taken" });
      const body = { application_credential: { name: "robot", ...fields } };
      const answer = await server.request("POST", `/identity/v3/users/${ann.userId}/application_credentials`, { token: ann.token, body });
      assert.equal(answer.statusCode, status, answer.body);
    });
  }
});

describe("version documents and catalog", () => {
  it("speak of the public URL, where there is one, else of the request's", async () => {
    await using server = await TestServer.start({ publicUrl: "https://cloud.example/" });
    const { version } = (await server.request("GET", "/identity/v3")).json<{ version: { id: string; links: { href: string }[] } }>();
    assert.deepEqual([version.id, version.links[0]?.href], ["v3.14", "https://cloud.example/identity/v3/"]);
    await using plain = await TestServer.start();
    const answer = await plain.request("GET", "/identity/v3/", { headers: { host: "10.0.0.1:5000" } });
    assert.equal(answer.json<{ version: { links: { href: string }[] } }>().version.links[0]?.href, "http://10.0.0.1:5000/identity/v3/");
  });

  it("list endpoints by service and interface", async () => {
    await using server = await TestServer.start();
    const ask = await asAdmin(server);
    const { endpoints } = (await ask("GET", "endpoints?service_id=image&interface=public")) as { endpoints: Json[] };
    assert.deepEqual(endpoints.map(({ url }) => url), ["http://localhost:80/image"]);
    assert.deepEqual(namesIn(await ask("GET", "services?type=image"), "services"), ["glance"]);
    assert.deepEqual((await ask("GET", "endpoints?region_id=other")).endpoints, []);
  });
});

function queuedImage(owner: string): ImageTable {
  const times = { created_at: 1, updated_at: 1 };
  const unset = { name: null, disk_format: null, container_format: null, size_bytes: null, virtual_size_bytes: null, disk_id: null };
  const hashes = { checksum_md5: null, hash_algorithm: null, hash_value: null };
  const zeroes = { min_disk_gib: 0, min_ram_mib: 0, protected: 0, hidden: 0 };
  return { id: "an image", owner, status: "queued", visibility: "private", ...times, ...unset, ...hashes, ...zeroes };
}

async function asAdmin(server: TestServer) {
  const { token } = await server.login("admin", "admin");
  return async (method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: object, status = 200): Promise<Json> => {
    const answer = await server.request(method, `/identity/v3/${path}`, { token, ...(body && { body }) });
    assert.equal(answer.statusCode, status, `${method} ${path}: ${answer.body}`);
    return answer.body === "" ? {} : answer.json<Json>();
  };
}

function namesIn(list: Json, plural: string): unknown[] {
  return (list[plural] as { name: string }[]).map(({ name }) => name);
}

interface MadeCredential {
  id: string;
  name: string;
  secret: string;
}

async function newCredential(server: TestServer, { userId, token }: Session, fields: object): Promise<MadeCredential> {
  const body = { application_credential: { name: "robot", ...fields } };
  const answer = await server.request("POST", `/identity/v3/users/${userId}/application_credentials`, { token, body });
  assert.equal(answer.statusCode, 201, answer.body);
  return answer.json<{ application_credential: MadeCredential }>().application_credential;
}

async function loginWith(server: TestServer, credential: object) {
  const identity = { methods: ["application_credential"], application_credential: credential };
  return server.request("POST", "/identity/v3/auth/tokens", { body: { auth: { identity } } });
}

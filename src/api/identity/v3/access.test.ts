/** Who may call what: every route of Identity, for every kind of caller. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { userId } from "#/domain/ids.ts";
import { TestServer } from "../../test-server.ts";

type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";

/** Who calls, in the order of the columns: ann is a member of "blue", bob of "green", roy only a reader, sys a reader of the system. */
const CALLERS = ["nobody", "bob", "roy", "ann", "sys", "admin"] as const;
type CallerName = (typeof CALLERS)[number];

/**
 * The status for each caller. ANN, BLUE and CRED stand for the ids of her, her project and her application credential; rows
 * that would change something for the rows below come with a record that is missing, so that 404 and 400 mean "let through".
 */
const ROUTES: readonly [Method, string, object | undefined, ...number[]][] = [
  ["GET", "", undefined, 300, 300, 300, 300, 300, 300],
  ["GET", "/v3", undefined, 200, 200, 200, 200, 200, 200],
  ["POST", "/v3/auth/tokens", {}, 400, 400, 400, 400, 400, 400],
  ["GET", "/v3/auth/tokens", undefined, 401, 403, 403, 200, 200, 200],
  ["HEAD", "/v3/auth/tokens", undefined, 401, 403, 403, 200, 200, 200],
  ["DELETE", "/v3/auth/tokens", undefined, 401, 403, 403, 204, 403, 204],
  ["GET", "/v3/auth/projects", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/auth/domains", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/auth/system", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/auth/catalog", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/services", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/services/image", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/endpoints", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/endpoints/none", undefined, 401, 404, 404, 404, 404, 404],
  ["GET", "/v3/regions", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/regions/RegionOne", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/domains", undefined, 401, 403, 403, 403, 200, 200],
  ["POST", "/v3/domains", { domain: { name: "Default" } }, 401, 403, 403, 403, 403, 409],
  ["GET", "/v3/domains/default", undefined, 401, 200, 200, 200, 200, 200],
  ["GET", "/v3/domains/none", undefined, 401, 403, 403, 403, 404, 404],
  ["PATCH", "/v3/domains/none", { domain: {} }, 401, 403, 403, 403, 403, 404],
  ["DELETE", "/v3/domains/none", undefined, 401, 403, 403, 403, 403, 404],
  ["GET", "/v3/projects", undefined, 401, 403, 403, 403, 200, 200],
  ["POST", "/v3/projects", { project: { name: "blue" } }, 401, 403, 403, 403, 403, 409],
  ["GET", "/v3/projects/BLUE", undefined, 401, 403, 200, 200, 200, 200],
  ["PATCH", "/v3/projects/BLUE", { project: {} }, 401, 403, 403, 403, 403, 200],
  ["DELETE", "/v3/projects/none", undefined, 401, 403, 403, 403, 403, 404],
  ["GET", "/v3/users", undefined, 401, 403, 403, 403, 200, 200],
  ["POST", "/v3/users", { user: { name: "ann" } }, 401, 403, 403, 403, 403, 409],
  ["GET", "/v3/users/ANN", undefined, 401, 403, 403, 200, 200, 200],
  ["PATCH", "/v3/users/ANN", { user: {} }, 401, 403, 403, 403, 403, 200],
  ["DELETE", "/v3/users/none", undefined, 401, 403, 403, 403, 403, 404],
  ["GET", "/v3/users/ANN/projects", undefined, 401, 403, 403, 200, 200, 200],
  ["POST", "/v3/users/ANN/password", { user: { original_password: "wrong", password: "x" } }, 401, 403, 403, 401, 403, 403],
  ["GET", "/v3/roles", undefined, 401, 200, 200, 200, 200, 200],
  ["POST", "/v3/roles", { role: { name: "admin" } }, 401, 403, 403, 403, 403, 409],
  ["GET", "/v3/roles/admin", undefined, 401, 200, 200, 200, 200, 200],
  ["PATCH", "/v3/roles/none", { role: {} }, 401, 403, 403, 403, 403, 404],
  ["DELETE", "/v3/roles/none", undefined, 401, 403, 403, 403, 403, 404],
  ["GET", "/v3/role_assignments", undefined, 401, 403, 403, 403, 200, 200],
  ["GET", "/v3/role_assignments?user.id=ANN", undefined, 401, 403, 403, 200, 200, 200],
  ...(["projects/BLUE", "domains/default", "system"] as const).flatMap((place): (typeof ROUTES)[number][] => [
    ["GET", `/v3/${place}/users/ANN/roles`, undefined, 401, 403, 403, 403, 200, 200],
    ["GET", `/v3/${place}/users/ANN/roles/service`, undefined, 401, 403, 403, 403, 404, 404],
    ["HEAD", `/v3/${place}/users/ANN/roles/service`, undefined, 401, 403, 403, 403, 404, 404],
    ["PUT", `/v3/${place}/users/ANN/roles/none`, undefined, 401, 403, 403, 403, 403, 404],
    ["DELETE", `/v3/${place}/users/ANN/roles/service`, undefined, 401, 403, 403, 403, 403, 404],
  ]),
  ["GET", "/v3/users/ANN/application_credentials", undefined, 401, 403, 403, 200, 200, 200],
  ["POST", "/v3/users/ANN/application_credentials", { application_credential: { name: "robot" } }, 401, 403, 403, 409, 403, 403],
  ["GET", "/v3/users/ANN/application_credentials/CRED", undefined, 401, 403, 403, 200, 200, 200],
  ["DELETE", "/v3/users/ANN/application_credentials/none", undefined, 401, 403, 403, 404, 403, 404],
];

describe("Identity's routes", () => {
  let server: TestServer;
  const tokens = new Map<CallerName, string>();
  const ids: Record<string, string> = {};
  const routes: string[] = [];

  before(async () => {
    server = await TestServer.start({ beforeRoutes: (app) => app.addHook("onRoute", ({ method, url }) => void routes.push(`${method} ${url}`)) });
    const ann = await server.login("ann", "blue", ["member"]);
    tokens.set("ann", ann.token);
    tokens.set("bob", (await server.login("bob", "green", ["member"])).token);
    tokens.set("roy", (await server.login("roy", "blue", ["reader"])).token);
    tokens.set("admin", (await server.login("admin", "admin")).token);
    tokens.set("sys", await systemReader(server));
    Object.assign(ids, { ANN: ann.userId, BLUE: ann.projectId, CRED: await newCredential(server, ann) });
  });
  after(async () => server[Symbol.asyncDispose]());

  for (const [method, path, body, ...statuses] of ROUTES) {
    for (const [index, caller] of CALLERS.entries()) {
      it(`answers ${statuses[index]} to ${method} ${path} of ${caller}`, async () => {
        const token = tokens.get(caller);
        const headers = path.endsWith("/auth/tokens") ? { "x-subject-token": (await server.login("ann", "blue")).token } : {};
        const url = `/identity${path}`.replace(/ANN|BLUE|CRED/g, (name) => ids[name] ?? name);
        const answer = await server.request(method, url, { token, headers, ...(body && { body }) });
        assert.equal(answer.statusCode, statuses[index], answer.body);
        assert.match(String(answer.headers["x-openstack-request-id"]), /^req-/);
        if (answer.statusCode >= 400 && method !== "HEAD") {
          assert.equal(answer.json<{ error: { code: number } }>().error.code, answer.statusCode);
        }
      });
    }
  }

  it("are all in this table", () => {
    const tested = new Set(ROUTES.map(([method, path]) => `${method} /identity${path.split("?")[0]}`));
    const patterns = routes.flatMap((route) => {
      const [methods = "", url = ""] = route.split(" ");
      const pattern = url.replace(/:\w+/g, "[^/]+").replace(/\/$/, "");
      return methods.split(",").map((method) => new RegExp(`^${method} ${pattern}$`));
    });
    assert.ok(patterns.length > 40);
    assert.deepEqual(patterns.filter((pattern) => ![...tested].some((route) => pattern.test(route))).map(String), []);
  });
});

async function systemReader(server: TestServer): Promise<string> {
  const { userId: id } = await server.login("sys", "blue", ["reader"]);
  const admin = await server.login("admin", "admin");
  const subject = await server.identity.tokens.check(admin.token);
  await server.identity.roleAssignments.add(subject, { userId: userId(id), roleId: "reader", target: { kind: "system" } });
  const proofs = [{ method: "password", user: { id: userId(id) }, password: "sys" }] as const;
  return (await server.identity.login.issue({ proofs, scope: { kind: "system" }, address: "here" })).text;
}

async function newCredential(server: TestServer, { userId: owner, token }: { userId: string; token: string }): Promise<string> {
  const body = { application_credential: { name: "robot" } };
  const answer = await server.request("POST", `/identity/v3/users/${owner}/application_credentials`, { token, body });
  return answer.json<{ application_credential: { id: string } }>().application_credential.id;
}

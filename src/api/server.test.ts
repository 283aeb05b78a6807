import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, it } from "node:test";
import { pino } from "pino";
import { Type } from "typebox";
import { AppError } from "#/domain/errors.ts";
import { projectId, userId } from "#/domain/ids.ts";
import { cinderFault, glanceFault } from "./fault-shapes.ts";
import { createServer, type Server, type ServerOptions, useFaultShape } from "./server.ts";
import { closeServer } from "./shutdown.ts";

describe("createServer()", () => {
  it("refuses a request without a token, with the request id in the header", async () => {
    await using app = await startServer();
    const answer = await app.inject({ url: "/volume/secrets" });
    assert.equal(answer.statusCode, 401);
    assert.deepEqual(answer.json(), { unauthorized: { code: 401, message: "no token" } });
    assert.match(String(answer.headers["x-openstack-request-id"]), /^req-[0-9a-f-]{36}$/);
    assert.equal(answer.headers["www-authenticate"], 'Keystone uri="/identity/v3"');
  });

  it("gives handlers the caller, and each route its own", async () => {
    await using app = await startServer();
    const answer = await app.inject({ url: "/volume/secrets", headers: { "x-auth-token": "ann" } });
    assert.deepEqual(answer.json(), { user: "ann" });
    assert.equal((await app.inject({ url: "/volume/open" })).statusCode, 200);
  });

  for (const [name, request, status, message] of [
    ["a wrong type in the body", { payload: { volume: { size: "1" } } }, 400, "Invalid body: volume.size must be integer."],
    ["a missing property", { payload: { volume: {} } }, 400, "Invalid body: volume must have: size."],
    ["an unknown property", { payload: { volume: { size: 1, sise: 2 } } }, 400, "Invalid body: volume has unknown properties: sise."],
    [
      "an unknown enum value",
      { payload: { volume: { size: 1, kind: "x" } } },
      400,
      "Invalid body: volume.kind must be one of: thin, thick.",
    ],
    ["no body", {}, 400, "Invalid body: it must be object."],
    ["broken JSON", { payload: '{"volume":', headers: { "content-type": "application/json" } }, 400, /^The body is not valid JSON: /],
    ["__proto__", { payload: '{"__proto__":{}}', headers: { "content-type": "application/json" } }, 400, /__proto__/],
    ["a body that is nested too deeply", { payload: `${"[".repeat(900)}${"]".repeat(900)}`, headers: { "content-type": "application/json" } }, 400, /nested too deeply: 64 levels/],
    ["brackets in a string", { payload: { volume: { size: "[".repeat(99) + '\\"{'.repeat(99) } } }, 400, "Invalid body: volume.size must be integer."],
    ["another content type", { payload: "a=b", headers: { "content-type": "text/x" } }, 415, 'The content type "text/x" is not supported here.'],
    ["no content type", { payload: "a=b", headers: {} }, 415, /.*/],
    ["a body that is too large", { payload: { volume: { name: "x".repeat(3000) } } }, 413, "The body may have at most 2000 bytes."],
    [
      "a wrong type in the query",
      { payload: { volume: { size: 1 } }, query: { limit: "many" } },
      400,
      "Invalid query: limit must be integer.",
    ],
  ] as const) {
    it(`answers ${status} to ${name}`, async () => {
      await using app = await startServer();
      const headers = { "x-auth-token": "ann", ...("headers" in request ? request.headers : {}) };
      const answer = await app.inject({ method: "POST", url: "/volume/volumes", ...request, headers });
      assert.equal(answer.statusCode, status);
      const [fault] = Object.values(answer.json<Record<string, { code: number; message: string }>>());
      assert.equal(fault?.code, status);
      if (typeof message === "string") assert.equal(fault?.message, message);
      else assert.match(fault?.message ?? "", message);
    });
  }

  it("converts the text of a query to the schema's types", async () => {
    await using app = await startServer();
    const answer = await app.inject({
      method: "POST",
      url: "/volume/volumes?limit=5",
      payload: { volume: { size: 1 } },
      headers: { "x-auth-token": "ann" },
    });
    assert.deepEqual(answer.json(), { limit: 5 });
  });

  for (const text of ["1.5", "true", "", "0x10", "1e3"]) {
    it(`takes "${text}" for no whole number`, async () => {
      await using app = await startServer();
      const answer = await app.inject({ method: "POST", url: `/volume/volumes?limit=${text}`, payload: { volume: { size: 1 } }, headers: { "x-auth-token": "ann" } });
      assert.equal(answer.statusCode, 400);
      assert.match(answer.body, /Invalid query: limit must be integer/);
    });
  }

  for (const type of ["application/json", "application/octet-stream"]) {
    it(`takes an empty body of the type ${type} as none`, async () => {
      await using app = await startServer();
      const headers = { "x-auth-token": "ann", "content-type": type, "content-length": "0" };
      const answer = await app.inject({ method: "PUT", url: "/volume/flag", headers });
      assert.equal(answer.statusCode, 204);
    });
  }

  it("answers 404 to an unknown path and 405 with Allow to an unknown method, in the shape of the API", async () => {
    await using app = await startServer();
    const headers = { "x-auth-token": "ann", accept: "application/json" };
    const unknown = await app.inject({ url: "/image/nothing?token=x", headers });
    assert.deepEqual(
      [unknown.statusCode, unknown.json()],
      [404, { message: "There is no /image/nothing.", code: "404 Not Found", title: "Not Found" }],
    );
    const wrongMethod = await app.inject({ method: "DELETE", url: "/volume/volumes/", headers });
    assert.deepEqual([wrongMethod.statusCode, wrongMethod.headers.allow], [405, "POST"]);
    assert.deepEqual(wrongMethod.json(), { badMethod: { code: 405, message: "/volume/volumes/ does not take DELETE." } });
    const outside = await app.inject({ url: "/nowhere" });
    assert.equal(outside.json<{ error: { code: string } }>().error.code, "not_found");
    const badUrl = await app.inject({ url: "/image/%zz", headers });
    assert.equal(badUrl.statusCode, 400);
  });

  it("answers 500 with the request id to a defect, and logs the stack, not the answer", async () => {
    const lines: string[] = [];
    await using app = await startServer({ log: pino({}, { write: (line) => lines.push(line) }) });
    const answer = await app.inject({ url: "/volume/defect", headers: { "x-auth-token": "ann" } });
    const id = String(answer.headers["x-openstack-request-id"]);
    assert.deepEqual(answer.json(), {
      computeFault: { code: 500, message: `An unexpected error. The log has more under the request id ${id}.` },
    });
    assert.ok(lines.some((line) => line.includes("the secret detail") && line.includes(id) && line.includes("server.test.ts")));
  });

  it("logs one line per request, without its query", async () => {
    const lines: string[] = [];
    await using app = await startServer({ log: pino({}, { write: (line) => lines.push(line) }) });
    await app.inject({ url: "/volume/secrets?password=hush", headers: { "x-auth-token": "ann" } });
    const expected = { method: "GET", path: "/volume/secrets", status: 200, projectId: "p" };
    const [line, ...rest] = lines.map((text) => JSON.parse(text) as Record<string, unknown>).filter(({ msg }) => msg === "request");
    assert.deepEqual(rest, []);
    assert.deepEqual({ ...line, ...expected }, line);
    assert.ok(!lines.join("").includes("hush") && !lines.join("").includes('"ann"'));
  });
});

describe("createServer(), over a real connection", () => {
  it("answers 408 where the body is shorter than its Content-Length", async () => {
    await using app = await startServer({ jsonTimeoutMs: 100 });
    const answer = await exchange(
      app,
      'POST /volume/volumes HTTP/1.1\r\nhost: x\r\nx-auth-token: ann\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"volume"',
    );
    assert.match(answer, /^HTTP\/1.1 408 .*The body did not arrive within 0.1 s/s);
  });

  it("lives on when the client goes away in the middle of a body", async () => {
    const lines: string[] = [];
    await using app = await startServer({ log: pino({}, { write: (line) => lines.push(line) }) });
    const socket = await open(app);
    socket.write(
      'POST /volume/volumes HTTP/1.1\r\nhost: x\r\nx-auth-token: ann\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"volume"',
    );
    await sleep(50);
    socket.destroy();
    while (!lines.some((line) => line.includes("cut off by the client"))) await sleep(5);
    assert.equal((await app.inject({ url: "/volume/open" })).statusCode, 200);
    assert.ok(!lines.some((line) => line.includes('"level":50')), lines.join());
  });

  it("reads a body that is longer than its Content-Length as broken HTTP", async () => {
    await using app = await startServer();
    const answer = await exchange(
      app,
      'POST /volume/volumes HTTP/1.1\r\nhost: x\r\nx-auth-token: ann\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}{"volume":{}}',
    );
    assert.match(answer, /HTTP\/1.1 400 /);
  });

  it("still answers 413 when the client sends the whole of a large body first", async () => {
    await using app = await startServer();
    const answer = await fetch(`${address(app)}/volume/volumes`, {
      method: "POST",
      body: "x".repeat(4_000_000),
      headers: { "x-auth-token": "ann", "content-type": "application/json" },
    });
    assert.equal(answer.status, 413);
  });

  it("says 100 Continue to who may send, and refuses others before they do", async () => {
    await using app = await startServer();
    const head = (token: string) =>
      `POST /volume/volumes HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 21\r\n${token}\r\n`;
    const refused = await exchange(app, head(""));
    assert.match(refused, /^HTTP\/1.1 401 /);
    const socket = await open(app);
    socket.write(head("x-auth-token: ann\r\n"));
    const [first] = await once(socket, "data");
    assert.equal(String(first), "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write('{"volume":{"size":1}}');
    const [second] = await once(socket, "data");
    assert.match(String(second), /^HTTP\/1.1 200 /);
    socket.destroy();
  });

  it("closes with requests under way after a limit", async () => {
    const app = await startServer();
    const hanging = fetch(`${address(app)}/volume/hang`, { headers: { "x-auth-token": "ann" } });
    const ended = assert.rejects(hanging);
    await sleep(50);
    const startedMs = performance.now();
    await closeServer(app, 100);
    assert.ok(performance.now() - startedMs < 2000);
    await ended;
  });
});

async function startServer(options: Partial<ServerOptions> = {}): Promise<Server> {
  const app = createServer({ authenticate, log: pino({ enabled: false }), jsonBytesMax: 2000, ...options });
  app.register(
    async (scope: Server) => {
      useFaultShape(scope, cinderFault);
      addRoutes(scope);
    },
    { prefix: "/volume" },
  );
  app.register(async (scope: Server) => useFaultShape(scope, glanceFault), { prefix: "/image" });
  await app.listen({ host: "127.0.0.1", port: 0 });
  return app;
}

const authenticate: ServerOptions["authenticate"] = async ({ token, requestId }) => {
  if (token === undefined) throw new AppError("unauthorized", "no token");
  return { userId: userId(token), userName: token, projectId: projectId("p"), roles: new Set(["member"]), requestId, isService: false };
};

function addRoutes(app: Server): void {
  const body = Type.Object({
    volume: Type.Object({ size: Type.Integer(), kind: Type.Optional(Type.Enum(["thin", "thick"])) }, { additionalProperties: false }),
  });
  const querystring = Type.Object({ limit: Type.Optional(Type.Integer()) });
  app.post("/volumes", { schema: { body, querystring } }, async (request) => ({ limit: request.query.limit }));
  app.put("/flag", async (_request, reply) => reply.code(204).send());
  app.get("/secrets", async (request) => ({ user: request.caller.userId }));
  app.get("/open", { config: { public: true } }, async () => ({}));
  app.get("/hang", () => new Promise(() => {}));
  app.get("/defect", async () => {
    throw new TypeError("the secret detail");
  });
}

function address(app: Server): string {
  const bound = app.server.address();
  if (bound === null || typeof bound === "string") throw new Error("not listening");
  return `http://127.0.0.1:${bound.port}`;
}

async function open(app: Server) {
  const socket = connect(Number(new URL(address(app)).port), "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

async function exchange(app: Server, text: string): Promise<string> {
  const socket = await open(app);
  socket.write(text);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

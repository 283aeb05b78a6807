import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { ClientError } from "./errors.ts";
import { serverSentEvents } from "./mica.ts";
import { Session } from "./session.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A server that lets everybody in, has a catalog, and answers every other call as it is told. Counts logins. */
async function peer(answer: Answer) {
  let logins = 0;
  const server = createServer((request, response) => {
    request.resume();
    if (request.url !== "/identity/v3/auth/tokens") return answer(request, response);
    const url = `http://${request.headers.host}`;
    const endpoint = (path: string) => [{ interface: "public", url: `${url}${path}` }];
    const catalog = [
      { type: "image", endpoints: endpoint("/image") },
      { type: "block-storage", endpoints: endpoint("/volume/v3") },
    ];
    response.setHeader("x-subject-token", `token-${++logins}`);
    response.end(JSON.stringify({ token: { project: { id: "p1" }, catalog } }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const open = async () => Session.open({ authUrl: `${url}/identity/v3`, auth: {}, from: "the test" });
  return { url, open, logins: () => logins, [Symbol.asyncDispose]: async () => void server.close() };
}

const refused = async (work: Promise<unknown>): Promise<ClientError> => {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(error instanceof ClientError, `it failed: ${String(error)}`);
  return error;
};

describe("Session", () => {
  it("finds each service by the catalog, and Mica's own beside identity", async () => {
    await using server = await peer((request, response) => response.end(JSON.stringify([request.url, request.headers["x-auth-token"]])));
    const session = await server.open();
    const paths = ["/image/v2/images", "/volume/v3/volumes", "/mica/v1/pools", "/identity/v3/users"];
    for (const [index, [service, path]] of (
      [
        ["image", "/images"],
        ["volume", "/volumes"],
        ["mica", "/pools"],
        ["identity", "/users"],
      ] as const
    ).entries()) {
      assert.deepEqual(await session.json(service, "GET", path, { what: "look" }), [paths[index], "token-1"]);
    }
  });

  it("logs in again when its token has run out", async () => {
    await using server = await peer((request, response) => {
      response.statusCode = request.headers["x-auth-token"] === "token-2" ? 200 : 401;
      response.end('"in"');
    });
    const session = await server.open();
    assert.equal(await session.json("image", "GET", "/images", { what: "look" }), "in");
    assert.equal(server.logins(), 2);
  });

  it("reads the refusals of all four APIs", async () => {
    const bodies = [
      '{"error":{"code":404,"title":"Not Found","message":"No such user."}}',
      '{"itemNotFound":{"code":404,"message":"No such user."}}',
      '{"message":"No such user.","code":"404 Not Found","title":"Not Found"}',
      '{"error":{"code":"not_found","message":"No such user.","fix":"Look again."}}',
    ];
    for (const body of bodies) {
      await using server = await peer((_, response) => void response.writeHead(404).end(body));
      const session = await server.open();
      const error = await refused(session.json("identity", "GET", "/users/x", { what: "show the user" }));
      assert.deepEqual([error.failure, error.status, error.message], ["refused", 404, "Cannot show the user: No such user."]);
      assert.equal(error.fix === "Look again.", body.includes("Look again."));
    }
  });

  it("says that nobody answers, and what to do", async () => {
    const error = await refused(Session.open({ authUrl: "http://127.0.0.1:1/identity/v3", auth: {}, from: "the test" }));
    assert.equal(error.failure, "unreachable");
    assert.match(error.message, /127\.0\.0\.1:1/);
    assert.match(error.fix ?? "", /make start/);
  });

  it("does not wait for ever", async () => {
    await using server = await peer(() => {});
    const session = await server.open();
    const error = await refused(session.json("image", "GET", "/images", { what: "look", timeoutMs: 50 }));
    assert.equal(error.failure, "too_late");
  });

  it("ends a call that is interrupted", async () => {
    await using server = await peer(() => {});
    const session = await server.open();
    const error = await refused(session.json("image", "GET", "/images", { what: "look", signal: AbortSignal.abort() }));
    assert.match(error.message, /interrupted/);
  });
});

describe("serverSentEvents()", () => {
  const events = async (...chunks: string[]) => {
    const body = ReadableStream.from(chunks.map((chunk) => new TextEncoder().encode(chunk)));
    return Array.fromAsync(serverSentEvents(new Response(body)));
  };

  it("gives the data of each event, however the stream is cut", async () => {
    const stream = ': hello\n\ndata: {"a":1}\n\nevent: x\ndata: one\ndata: two\n\n: still here\n\ndata:ü\r\n\r\n';
    const wanted = ['{"a":1}', "one\ntwo", "ü"];
    assert.deepEqual(await events(stream), wanted);
    const bytes = new TextEncoder().encode(stream);
    for (let cut = 1; cut < bytes.length; cut++) {
      const body = ReadableStream.from([bytes.slice(0, cut), bytes.slice(cut)]);
      assert.deepEqual(await Array.fromAsync(serverSentEvents(new Response(body))), wanted, `cut at ${cut}`);
    }
  });

  it("leaves out an event that was cut off", async () => {
    assert.deepEqual(await events("data: whole\n\ndata: half"), ["whole"]);
  });
});

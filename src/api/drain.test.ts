import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { describe, it } from "node:test";
import { drain } from "./drain.ts";

const CHUNK = `${(65536).toString(16)}\r\n${"x".repeat(65536)}\r\n`;

/** A server that answers before it has read the body, and a client in the middle of sending one in chunks. */
async function refused(limitMs: number, before: (request: IncomingMessage) => void = () => {}): Promise<{ client: Socket } & Disposable> {
  const server = createServer((request, response) => {
    before(request);
    response.writeHead(413).end();
    response.once("finish", () => drain(request, limitMs));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => {});
  client.write("PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
  return {
    client,
    [Symbol.dispose]() {
      client.destroy();
      server.close();
    },
  };
}

describe("drain()", () => {
  it("takes the rest, so that a client that sends first and reads then gets its answer and may go on", async () => {
    using world = await refused(10_000);
    const { client } = world;
    for (let sent = 0; sent < 300; sent++) if (!client.write(CHUNK)) await once(client, "drain");
    client.write("0\r\n\r\n");
    const [answer] = (await once(client, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1.1 413 /);
    assert.equal(client.destroyed, false);
  });

  it("goes on past a reader that was stopped while it waited", async () => {
    using world = await refused(
      10_000,
      (request) =>
        void request
          .iterator({ destroyOnReturn: false })
          .next()
          .catch(() => {}),
    );
    const { client } = world;
    for (let sent = 0; sent < 300; sent++) if (!client.write(CHUNK)) await once(client, "drain");
    assert.equal(client.destroyed, false);
  });

  it("closes the connection where the body has no end", async () => {
    using world = await refused(50);
    const { client } = world;
    const closed = new Promise((resolve) => client.resume().once("close", resolve)); // With a reset or without.
    const timer = setInterval(() => client.write(CHUNK), 5);
    await closed;
    clearInterval(timer);
  });
});

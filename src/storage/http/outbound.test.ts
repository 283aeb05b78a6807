import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { rejectsWith } from "#/storage/contract/bench.ts";
import { isPublicAddress } from "#/storage/http/addresses.ts";
import { Outbound } from "#/storage/http/outbound.ts";
import { startWebServer, type WebFile } from "../../../test/support/web-server.ts";

const strict = (allowedHosts: readonly string[] = []) => new Outbound({ allowedHosts, silenceMsMax: 1000 });
const page = (words: string): WebFile => ({ bytes: Buffer.from(words) });
const redirect = (location: string, status = 302): WebFile => ({ ...page(""), status, headers: { location } });

describe("isPublicAddress()", () => {
  it("is true for the Internet only", () => {
    const inside = `0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.168.1.1
      198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1
      2001:db8::1 2002:7f00:1:: fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 not-an-address`;
    for (const address of inside.split(/\s+/)) assert.equal(isPublicAddress(address), false, address);
    for (const address of ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "2a00:1450::1"]) {
      assert.equal(isPublicAddress(address), true, address);
    }
  });
});

describe("Outbound", () => {
  const HOSTILE = [
    "ftp://example.com/x",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6422/_x",
    "//example.com/x",
    "not a URL",
    "http://",
    "http://user:secret@example.com/x",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://10.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
  ];
  for (const url of HOSTILE) {
    it(`refuses ${url} without asking anybody`, () => {
      using outbound = strict();
      assert.throws(() => outbound.check(url), { code: "bad_request" });
    });
  }

  it("refuses a name by the address that it has", async () => {
    await using server = await startWebServer({ "/x": page("inner") });
    using outbound = strict();
    await rejectsWith("bad_request", () => outbound.request(`${server.url.replace("127.0.0.1", "localhost")}/x`, { method: "GET" }));
    assert.deepEqual(server.requests, []);
  });

  it("goes to an inner host only where it is allowed, by its name as it stands in the URL and its port", async () => {
    await using server = await startWebServer({ "/x": page("inner") });
    const { port } = new URL(server.url);
    for (const allowed of ["127.0.0.1", `127.0.0.1:${port}`]) {
      using outbound = strict([allowed]);
      assert.equal(await text(await outbound.request(`${server.url}/x`, { method: "GET" })), "inner");
    }
    for (const other of ["localhost", "127.0.0.1:1", `localhost:${port}`]) {
      using outbound = strict([other]);
      await rejectsWith("bad_request", () => outbound.request(`${server.url}/x`, { method: "GET" }));
    }
  });

  it("follows redirects, and checks each", async () => {
    await using inner = await startWebServer({ "/secret": page("the keys") });
    await using server = await startWebServer({ "/end": page("fine") });
    const { host } = new URL(server.url);
    using outbound = strict([host]);
    const get = (path: string) => outbound.request(server.url + path, { method: "GET" });
    for (const [i, status] of [301, 302, 303, 307, 308].entries()) server.files.set(`/${i}`, redirect("/end", status));
    for (let i = 0; i < 5; i++) assert.equal(await text(await get(`/${i}`)), "fine");
    const outwards = [`${inner.url}/secret`, inner.url.replace("127.0.0.1", "localhost"), "http://169.254.169.254/", "file:///etc/passwd", "gopher://x/", `http://user:pw@${host}/end`, "http://["];
    for (const [i, to] of outwards.entries()) {
      server.files.set(`/out${i}`, redirect(to));
      await rejectsWith("bad_request", () => get(`/out${i}`));
    }
    assert.deepEqual(inner.requests, []);
  });

  it("does not run in circles", async () => {
    await using server = await startWebServer({ "/a": redirect("/b"), "/b": redirect("/a") });
    using outbound = strict(["127.0.0.1"]);
    await rejectsWith("bad_request", () => outbound.request(`${server.url}/a`, { method: "GET" }));
    assert.ok(server.requests.length <= 6);
  });

  it("says in plain words that nobody answers", async () => {
    const server = await startWebServer();
    await server[Symbol.asyncDispose]();
    using outbound = strict(["127.0.0.1"]);
    await rejectsWith("pool_unavailable", () => outbound.request(`${server.url}/x?signature=s3cr3t`, { method: "GET" }));
    await assert.rejects(outbound.request(`${server.url}/x?signature=s3cr3t`, { method: "GET" }), (error: Error) => !error.message.includes("s3cr3t"));
  });
});

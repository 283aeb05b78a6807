/** Uploads and downloads over real connections. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Session } from "#/api/test-server.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { ImageApi, type ImageApiOptions } from "../../../../test/support/image-api.ts";

const NOTHING = { findings: [], disks: [], reservedBytes: 0 };
const QUEUED = { status: "queued", size: null, checksum: null, os_hash_value: null, virtual_size: null };

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One PUT of an image's bytes, sent by hand. */
async function put(
  api: ImageApi,
  { token }: Session,
  id: string,
  headers: Record<string, string | number> = {},
): Promise<{ request: ClientRequest; answer: Promise<Answer> }> {
  const request = httpRequest(`${await api.url()}/image/v2/images/${id}/file`, {
    method: "PUT",
    headers: { "x-auth-token": token, "content-type": "application/octet-stream", ...headers },
  });
  const answer = new Promise<Answer>((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (response: IncomingMessage) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    });
  });
  answer.catch(() => {}); // Tests that cut the connection don't wait for it.
  return { request, answer };
}

async function upload(
  api: ImageApi,
  session: Session,
  id: string,
  chunks: Iterable<Buffer>,
  headers: Record<string, string | number> = {},
): Promise<Answer> {
  const { request, answer } = await put(api, session, id, headers);
  for (const chunk of chunks)
    if (!request.write(chunk)) await Promise.race([new Promise((resolve) => request.once("drain", resolve)), answer]);
  request.end();
  return answer;
}

async function download(
  api: ImageApi,
  { token }: Session,
  id: string,
  range?: string,
): Promise<{ status: number; headers: Headers; content: Buffer }> {
  const answer = await fetch(`${await api.url()}/image/v2/images/${id}/file`, {
    headers: { "x-auth-token": token, ...(range && { range }) },
  });
  return { status: answer.status, headers: answer.headers, content: Buffer.from(await answer.arrayBuffer()) };
}

/** Waits until something is as it should be. */
async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`Never: ${what}`);
}

async function assertQueued(api: ImageApi, session: Session, id: string): Promise<void> {
  await api.settle();
  const image = await api.show(session, id);
  assert.deepEqual(Object.fromEntries(Object.keys(QUEUED).map((key) => [key, image[key]])), QUEUED);
  assert.deepEqual(await api.leftovers(), NOTHING);
}

async function opened(options: ImageApiOptions = {}): Promise<{ api: ImageApi; alice: Session } & AsyncDisposable> {
  const api = await ImageApi.open(options);
  return { api, alice: await api.alice(), [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

for (const pool of ["memory", "file"] as const) {
  describe(`Uploads into a ${pool} pool`, () => {
    it("keep any content in any chunks, and tell its hashes", async () => {
      await using world = await opened({ pool });
      const { api, alice } = world;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 300 * KiB }), { maxLength: 8 }), fc.boolean(), async (lengths, isAnnounced) => {
          const id = await api.create(alice);
          const chunks = lengths.map((length) => randomBytes(length));
          const content = Buffer.concat(chunks);
          const answer = await upload(api, alice, id, chunks, isAnnounced ? { "content-length": content.length } : {});
          assert.equal(answer.status, 204, answer.body);
          const { status, size, virtual_size, checksum, os_hash_algo, os_hash_value } = await api.show(alice, id);
          assert.deepEqual(
            { status, size, virtual_size, checksum, os_hash_algo, os_hash_value },
            {
              status: "active",
              size: content.length,
              virtual_size: content.length,
              checksum: createHash("md5").update(content).digest("hex"),
              os_hash_algo: "sha512",
              os_hash_value: createHash("sha512").update(content).digest("hex"),
            },
          );
          const got = await download(api, alice, id);
          assert.deepEqual(
            [got.status, got.headers.get("content-length"), got.headers.get("content-md5")],
            [200, String(content.length), checksum],
          );
          assert(got.content.equals(content));
          await api.server.request("DELETE", `/image/v2/images/${id}`, { token: alice.token });
        }),
        { numRuns: 15 },
      );
      assert.deepEqual(await api.leftovers(), NOTHING);
    });

    it("are read in parts", async () => {
      await using world = await opened({ pool });
      const { api, alice } = world;
      const content = randomBytes(3 * MiB + 123);
      const id = await api.create(alice);
      assert.equal((await upload(api, alice, id, [content])).status, 204);
      const cases: [range: string, start: number, end: number][] = [
        ["bytes=0-0", 0, 1],
        ["bytes=1000000-2000000", 1_000_000, 2_000_001],
        ["bytes=3145728-", 3 * MiB, content.length],
        ["bytes=-100", content.length - 100, content.length],
        ["bytes=5-99999999", 5, content.length],
      ];
      for (const [range, start, end] of cases) {
        const got = await download(api, alice, id, range);
        assert.deepEqual(
          [got.status, got.headers.get("content-range"), got.headers.get("content-length")],
          [206, `bytes ${start}-${end - 1}/${content.length}`, String(end - start)],
        );
        assert(got.content.equals(content.subarray(start, end)), range);
      }
      const beyond = await download(api, alice, id, `bytes=${content.length}-`);
      assert.deepEqual([beyond.status, beyond.headers.get("content-range")], [416, `bytes */${content.length}`]);
      assert.equal((await download(api, alice, id, "bytes=0-1,3-4")).status, 400);
    });

    it("that are cut off leave the image queued, and nothing else", async () => {
      await using world = await opened({ pool });
      const { api, alice } = world;
      const id = await api.create(alice);
      for (const headers of [{ "content-length": 10 * MiB }, {}] as Record<string, number>[]) {
        const { request } = await put(api, alice, id, headers);
        request.write(randomBytes(MiB));
        await until("saving", async () => (await api.show(alice, id))["status"] === "saving");
        request.destroy();
        await until("queued", async () => (await api.show(alice, id))["status"] === "queued");
        await assertQueued(api, alice, id);
      }
      assert.equal((await upload(api, alice, id, [Buffer.from("again")])).status, 204);
    });

    it("end when the image is deleted meanwhile: 410 for them, 204 for the delete", async () => {
      await using world = await opened({ pool });
      const { api, alice } = world;
      const id = await api.create(alice);
      const { request, answer } = await put(api, alice, id);
      request.write(randomBytes(MiB));
      await until("saving", async () => (await api.show(alice, id))["status"] === "saving");
      assert.equal((await api.server.request("DELETE", `/image/v2/images/${id}`, { token: alice.token })).statusCode, 204);
      assert.equal((await answer).status, 410);
      request.destroy();
      assert.deepEqual(await api.leftovers(), NOTHING);
    });

    it("are one at a time: 409 for the second", async () => {
      await using world = await opened({ pool });
      const { api, alice } = world;
      const id = await api.create(alice);
      const { request, answer } = await put(api, alice, id);
      request.write("first ");
      await until("saving", async () => (await api.show(alice, id))["status"] === "saving");
      assert.equal((await upload(api, alice, id, [Buffer.from("second")])).status, 409);
      request.end("upload");
      assert.equal((await answer).status, 204);
      assert.equal((await download(api, alice, id)).content.toString(), "first upload");
      assert.equal((await upload(api, alice, id, [Buffer.from("third")])).status, 409);
    });
  });
}

describe("Uploads", () => {
  const refusals: [
    name: string,
    options: ImageApiOptions,
    image: object,
    content: Buffer,
    headers: Record<string, string | number>,
    status: number,
  ][] = [
    ["of another format than the image's", {}, { disk_format: "qcow2" }, randomBytes(64 * KiB), {}, 415],
    ["of a qcow2 that is called raw", {}, {}, qcow2(), {}, 415],
    ["of a qcow2 with a backing file", {}, { disk_format: "qcow2" }, qcow2({ backingFile: "/etc/passwd" }), {}, 415],
    [
      "larger than an image may be, as announced",
      { config: { imageSizeBytesMax: 100 } },
      {},
      Buffer.alloc(101),
      { "content-length": 101 },
      413,
    ],
    ["larger than an image may be, as it turns out", { config: { imageSizeBytesMax: 100 } }, {}, Buffer.alloc(101), {}, 413],
    ["larger than the pool, as announced", { capacityBytes: MiB }, {}, Buffer.alloc(2 * MiB, 1), { "content-length": 2 * MiB }, 413],
    ["larger than the pool, as it turns out", { capacityBytes: 4 * MiB }, {}, randomBytes(6 * MiB), {}, 413],
    ["whose size header is no number", {}, {}, Buffer.alloc(10), { "x-openstack-image-size": "ten" }, 400],
    ["whose size header differs from the length", {}, {}, Buffer.alloc(10), { "x-openstack-image-size": 11, "content-length": 10 }, 400],
    ["shorter than their size header", {}, {}, Buffer.alloc(10), { "x-openstack-image-size": 11 }, 400],
    ["longer than their size header", {}, {}, Buffer.alloc(12), { "x-openstack-image-size": 11 }, 400],
    ["as JSON", {}, {}, Buffer.from("{}"), { "content-type": "application/json" }, 415],
    ["without formats", {}, { disk_format: null, container_format: null }, Buffer.alloc(10), {}, 400],
  ];
  for (const [name, options, image, content, headers, status] of refusals) {
    it(`${name} are refused: ${status}`, async () => {
      await using world = await opened(options);
      const { api, alice } = world;
      const id = await api.create(alice, image);
      const answer = await upload(api, alice, id, chunksOf(content), headers);
      assert.equal(answer.status, status, answer.body);
      await assertQueued(api, alice, id);
    });
  }

  it("by others are refused: 404 where they do not see the image, 403 where they do", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const bob = await api.bob();
    const bytes = [Buffer.from("x")];
    assert.equal((await upload(api, bob, await api.create(alice, { visibility: "private" }), bytes)).status, 404);
    assert.equal((await upload(api, bob, await api.create(alice, { visibility: "community" }), bytes)).status, 403);
    assert.equal((await upload(api, await api.alice(["reader"]), await api.create(alice), bytes)).status, 403);
  });

  it("of a size that only the header tells are taken in chunks", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice);
    assert.equal((await upload(api, alice, id, [Buffer.alloc(5), Buffer.alloc(6)], { "x-openstack-image-size": 11 })).status, 204);
    assert.equal((await api.show(alice, id))["size"], 11);
  });

  it("tell the size that a guest will see", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice, { disk_format: "qcow2" });
    const answer = await upload(api, alice, id, [qcow2()]);
    assert.equal(answer.status, 204, answer.body);
    const { size, virtual_size } = await api.show(alice, id);
    assert.deepEqual({ size, virtual_size }, { size: qcow2().length, virtual_size: MiB });
  });

  it("of wrapped images are not looked into", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice, { disk_format: "qcow2", container_format: "compressed" });
    assert.equal((await upload(api, alice, id, [randomBytes(1000)])).status, 204);
    assert.equal((await api.show(alice, id))["virtual_size"], null);
    const [disk] = await api.services.db.selectFrom("disk").select("format").execute();
    assert.equal(disk?.format, "opaque");
  });

  it("that must be refused cost no transfer where the client asks before it sends", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice, { disk_format: null });
    const { request, answer } = await put(api, alice, id, { expect: "100-continue", "content-length": MiB });
    let continued = false;
    request.on("continue", () => (continued = true));
    request.flushHeaders();
    assert.equal((await answer).status, 400);
    assert.equal(continued, false);
    request.destroy();
  });

  it("begin when the client that asked is told to continue", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice);
    const { request, answer } = await put(api, alice, id, { expect: "100-continue", "content-length": 5 });
    request.on("continue", () => request.end("bytes"));
    request.flushHeaders();
    assert.equal((await answer).status, 204);
  });

  it("whose body is shorter than its length leave the image queued", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice);
    const url = new URL(await api.url());
    const socket = connect(Number(url.port), url.hostname);
    const head = [
      `PUT /image/v2/images/${id}/file HTTP/1.1`,
      "host: x",
      `x-auth-token: ${alice.token}`,
      "content-type: application/octet-stream",
      "content-length: 100",
    ];
    socket.end(`${head.join("\r\n")}\r\n\r\nshort`);
    await new Promise((resolve) => socket.on("close", resolve).resume());
    await until("queued", async () => (await api.show(alice, id))["status"] === "queued");
    await assertQueued(api, alice, id);
  });
});

describe("Downloads", () => {
  it("of an image without bytes are empty: 204", async () => {
    await using world = await opened();
    const { api, alice } = world;
    assert.equal((await download(api, alice, await api.create(alice))).status, 204);
  });

  it("are for members of a project, not for its readers", async () => {
    await using world = await opened();
    const { api, alice } = world;
    const id = await api.create(alice, { visibility: "community" });
    await upload(api, alice, id, [Buffer.from("bytes")]);
    assert.equal((await download(api, await api.alice(["reader"]), id)).status, 403);
    assert.equal((await download(api, await api.bob(), id)).status, 200);
  });

  it("end where the client goes away, and the next one is served", async () => {
    await using world = await opened({ pool: "file" });
    const { api, alice } = world;
    const content = randomBytes(32 * MiB);
    const id = await api.create(alice);
    assert.equal((await upload(api, alice, id, chunksOf(content))).status, 204);
    const stop = new AbortController();
    const answer = await fetch(`${await api.url()}/image/v2/images/${id}/file`, {
      headers: { "x-auth-token": alice.token },
      signal: stop.signal,
    });
    await answer.body?.getReader().read();
    stop.abort();
    assert((await download(api, alice, id)).content.equals(content));
  });
});

function* chunksOf(content: Buffer): Iterable<Buffer> {
  for (let at = 0; at < content.length; at += 64 * KiB) yield content.subarray(at, at + 64 * KiB);
}

/** An empty qcow2 of 1 MiB, version 3, with clusters of 64 KiB (docs/interop/qcow2.txt of QEMU 7.2): header, L1, refcount table and block. */
function qcow2({ backingFile = "" }: { backingFile?: string } = {}): Buffer {
  const cluster = 64 * KiB;
  const image = Buffer.alloc(4 * cluster);
  image.write("QFI\xfb", 0, "latin1");
  image.writeUInt32BE(3, 4);
  if (backingFile !== "") {
    image.writeBigUInt64BE(512n, 8);
    image.writeUInt32BE(backingFile.length, 16);
    image.write(backingFile, 512);
  }
  image.writeUInt32BE(16, 20);
  image.writeBigUInt64BE(BigInt(MiB), 24);
  image.writeUInt32BE(1, 36);
  image.writeBigUInt64BE(BigInt(3 * cluster), 40);
  image.writeBigUInt64BE(BigInt(cluster), 48);
  image.writeUInt32BE(1, 56);
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(104, 100);
  image.writeBigUInt64BE(BigInt(2 * cluster), cluster);
  for (let used = 0; used < 4; used++) image.writeUInt16BE(1, 2 * cluster + 2 * used);
  return image;
}

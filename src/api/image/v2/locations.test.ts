import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import type { Session } from "#/api/test-server.ts";
import type { Config } from "#/config/schema.ts";
import { poolName } from "#/domain/ids.ts";
import { silentLog } from "#/lib/log.ts";
import { MiB } from "#/lib/units.ts";
import { dense } from "#/storage/contract/bench.ts";
import { HttpDriver } from "#/storage/http/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { converted, created, stored } from "../../../../test/support/disk-images.ts";
import { ImageApi } from "../../../../test/support/image-api.ts";
import { POOL_LIMITS } from "../../../../test/support/pool-limits.ts";
import { startWebServer, type WebFile } from "../../../../test/support/web-server.ts";

const SHOWN: Config["images"] = { showDirectUrl: true, showMultipleLocations: true, secureHash: true };
const HIDDEN: Config["images"] = { showDirectUrl: false, showMultipleLocations: false, secureHash: true };

/** The Image API with a store that takes uploads, one that is another's, and a web server that images may be read from. */
async function openWorld(files: Readonly<Record<string, WebFile>>, images: Config["images"] = HIDDEN) {
  await using stack = new AsyncDisposableStack();
  const web = stack.use(await startWebServer(files));
  const driver = stack.use(new HttpDriver({ allowedHosts: [new URL(web.url).host], silenceMsMax: 1000 }, { log: silentLog }));
  const more = [
    new Pool({ name: poolName("second"), roles: ["images"], driver: new MemoryDriver({ capacityBytes: 256 * MiB }), limits: POOL_LIMITS }),
    new Pool({ name: poolName("web"), roles: ["images"], driver, limits: POOL_LIMITS }),
  ];
  const api = stack.use(await ImageApi.open({ config: { images }, more, capacityBytes: 4 * MiB }));
  const kept = stack.move();
  return { api, web, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
type World = Awaited<ReturnType<typeof openWorld>>;

const JSON_PATCH = { "content-type": "application/openstack-images-v2.1-json-patch" };
const sha512 = (bytes: Uint8Array) => createHash("sha512").update(bytes).digest("hex");

async function add({ api }: World, { token }: Session, id: string, body: object) {
  return api.server.request("POST", `/image/v2/images/${id}/locations`, { token, body });
}

async function patch({ api }: World, { token }: Session, id: string, ...changes: object[]) {
  return api.server.request("PATCH", `/image/v2/images/${id}`, { token, headers: JSON_PATCH, body: JSON.stringify(changes) });
}

/** The image, once nothing works on it any more. */
async function settled({ api }: World, session: Session, id: string) {
  await api.settle();
  return api.show(session, id);
}

describe("POST /v2/images/{id}/locations", () => {
  it("makes an image of what a web server has, moves nothing but a look at it, and hashes it afterwards", async () => {
    const bytes = converted("qcow2");
    await using world = await openWorld({ "/disk.qcow2": { bytes } });
    const { api, web } = world;
    const alice = await api.alice();
    const id = await api.create(alice, { disk_format: "qcow2" });
    const answer = await add(world, alice, id, { url: `${web.url}/disk.qcow2` });
    assert.deepEqual([answer.statusCode, answer.body], [202, ""]);
    const image = await settled(world, alice, id);
    assert.deepEqual([image["status"], image["size"], image["virtual_size"], image["os_hash_value"]], ["active", bytes.length, 3 * MiB, sha512(bytes)]);
    assert.deepEqual([image["stores"], image["direct_url"], image["locations"]], ["web", undefined, undefined]);
    const { actual } = await api.services.db.selectFrom("operation").select("actual").where("saga", "=", "register-location").executeTakeFirstOrThrow();
    const { strategy, bytesWritten, bytesTemporary } = JSON.parse(actual ?? "{}");
    assert.deepEqual([strategy, bytesWritten, bytesTemporary], ["adopt", 0, 0]);
    const download = await api.server.request("GET", `/image/v2/images/${id}/file`, { token: alice.token });
    assert.equal(Buffer.compare(download.rawPayload, bytes), 0);
  });

  it("tells services where an image is, and nobody else", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(MiB, 1) } });
    const { api, web } = world;
    const [alice, nova] = [await api.alice(), await api.server.login("nova", "alices", ["service"])];
    const id = await api.create(alice);
    await add(world, alice, id, { url: `${web.url}/disk` });
    await api.settle();
    const asked = (session: Session) => api.server.request("GET", `/image/v2/images/${id}/locations`, { token: session.token });
    assert.deepEqual([(await asked(alice)).statusCode, (await asked(await api.admin())).statusCode], [403, 403]);
    const reader = await api.server.login("cinder", "alices", ["service", "reader"]);
    assert.deepEqual((await asked(reader)).json(), [{ url: `${web.url}/disk`, metadata: { store: "web" } }]);
    assert.ok(nova.token);
  });

  it("never touches the bytes: they stay when the image goes, and the audit knows them", async () => {
    const files = { "/disk": { bytes: dense(MiB, 1) } };
    await using world = await openWorld(files);
    const { api, web } = world;
    const alice = await api.alice();
    const id = await api.create(alice);
    await add(world, alice, id, { url: `${web.url}/disk` });
    await api.settle();
    assert.deepEqual((await api.leftovers()).findings, []);
    web.files.delete("/disk");
    const [gone] = (await api.leftovers()).findings as { kind: string; message: string }[];
    assert.equal(gone?.kind, "missing_bytes");
    assert.match(gone?.message ?? "", /at http:\/\/127\.0\.0\.1:\d+\/disk/);
    web.files.set("/disk", files["/disk"]);
    assert.equal((await api.server.request("DELETE", `/image/v2/images/${id}`, { token: alice.token })).statusCode, 204);
    assert.deepEqual(await api.leftovers(), { findings: [], disks: [], reservedBytes: 0 });
    assert.ok(web.requests.every((request) => /^(GET|HEAD) /.test(request)));
  });

  it("takes what hashes to what was promised, and puts back what does not", async () => {
    const bytes = dense(MiB, 1);
    await using world = await openWorld({ "/disk": { bytes } });
    const { api, web } = world;
    const alice = await api.alice();
    const [right, wrong] = [await api.create(alice), await api.create(alice)];
    const url = `${web.url}/disk`;
    await add(world, alice, right, { url, validation_data: { os_hash_algo: "sha512", os_hash_value: sha512(bytes).toUpperCase() } });
    await add(world, alice, wrong, { url, validation_data: { os_hash_algo: "sha512", os_hash_value: "0".repeat(128) } });
    assert.equal((await settled(world, alice, right))["status"], "active");
    const image = await api.show(alice, wrong);
    assert.deepEqual([image["status"], image["size"], image["os_hash_value"]], ["queued", null, null]);
    assert.deepEqual((await api.leftovers()).findings, []);
  });

  const HOSTILE: readonly (readonly [name: string, bytes: () => Uint8Array, format: string])[] = [
    ["a backing file", () => created("qcow2", ["-b", stored(converted("qcow2")), "-F", "qcow2"]), "qcow2"],
    ["another format than the image says", () => converted("vmdk"), "qcow2"],
    ["a qcow2 file that claims to be raw", () => converted("qcow2"), "raw"],
  ];
  for (const [name, bytes, disk_format] of HOSTILE) {
    it(`refuses ${name}: the image stays queued, and says why in its operation`, async () => {
      await using world = await openWorld({ "/x": { bytes: bytes() } });
      const { api, web } = world;
      const alice = await api.alice();
      const id = await api.create(alice, { disk_format });
      assert.equal((await add(world, alice, id, { url: `${web.url}/x` })).statusCode, 202);
      assert.equal((await settled(world, alice, id))["status"], "queued");
      const { error_code: code } = await api.services.db.selectFrom("operation").select("error_code").executeTakeFirstOrThrow();
      assert.match(code ?? "", /^image_(unsafe|format_mismatch)$/);
      assert.deepEqual((await api.leftovers()).findings, []);
    });
  }

  it("refuses what can't be a location, before it is recorded", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(MiB, 1) } });
    const { api, web } = world;
    const [alice, bob, admin] = [await api.alice(), await api.bob(), await api.admin()];
    const id = await api.create(alice);
    const url = `${web.url}/disk`;
    const refused: readonly (readonly [Session, object, number])[] = [
      [alice, {}, 400],
      [alice, { url: "" }, 400],
      [alice, { url: 5 }, 400],
      [alice, { url: "file:///etc/passwd" }, 403],
      [admin, { url: "file:///etc/passwd" }, 400],
      [alice, { url: "filesystem:///etc/passwd" }, 400],
      [alice, { url: "swift+config://x/y" }, 400],
      [alice, { url: "http://user:secret@example.com/x" }, 400],
      [alice, { url: "s3://key:secret@s3.example.com/images/x" }, 400],
      [alice, { url: "s3://s3.example.com/images/x" }, 403],
      [alice, { url: "rbd://fsid/images/x/snap" }, 403],
      [admin, { url: "rbd://fsid/images/x/snap" }, 400],
      [admin, { url: "s3://s3.example.com/images/x" }, 400],
      [alice, { url: "cinder://11111111-2222-4333-8444-555555555555" }, 400],
      [alice, { url, validation_data: { os_hash_algo: "md5", os_hash_value: "0".repeat(32) } }, 409],
      [alice, { url, validation_data: { os_hash_algo: "sha512", os_hash_value: "zz" } }, 400],
      [bob, { url }, 404],
    ];
    for (const [who, body, status] of refused) assert.equal((await add(world, who, id, body)).statusCode, status, JSON.stringify(body));
    const unformatted = (await api.server.request("POST", "/image/v2/images", { token: alice.token, body: {} })).json<{ id: string }>().id;
    assert.equal((await add(world, alice, unformatted, { url })).statusCode, 400);
    assert.equal((await add(world, alice, id, { url })).statusCode, 202);
    assert.equal((await settled(world, alice, id))["status"], "active");
    assert.equal((await add(world, alice, id, { url })).statusCode, 409);
  });

  it("reaches no inner host, by whatever way it is named", async () => {
    await using world = await openWorld({});
    const { api, web } = world;
    await using inner = await startWebServer({ "/secret": { bytes: dense(MiB, 1) } });
    web.files.set("/hop", { bytes: new Uint8Array(), status: 302, headers: { location: `${inner.url}/secret` } });
    const alice = await api.alice();
    for (const url of [`${inner.url}/secret`, `${inner.url.replace("127.0.0.1", "localhost")}/secret`, `${web.url}/hop`, "http://169.254.169.254/latest/meta-data/"]) {
      const id = await api.create(alice);
      await add(world, alice, id, { url });
      assert.equal((await settled(world, alice, id))["status"], "queued", url);
    }
    assert.deepEqual(inner.requests, []);
  });
});

describe("PATCH /v2/images/{id} of /locations", () => {
  it("is refused, and nothing is shown, where locations are hidden", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(MiB, 1) } });
    const { api, web } = world;
    const alice = await api.alice();
    const id = await api.create(alice);
    const answer = await patch(world, alice, id, { op: "add", path: "/locations/-", value: { url: `${web.url}/disk` } });
    assert.equal(answer.statusCode, 403);
    assert.match(answer.body, /not allowed to add locations if locations are invisible/);
  });

  it("adds the first location, and answers with an active image that shows it", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(MiB, 1) } }, SHOWN);
    const { api, web } = world;
    const alice = await api.alice();
    const url = `${web.url}/disk`;
    for (const change of [{ op: "add", path: "/locations/-", value: { url, metadata: {} } }, { op: "replace", path: "/locations", value: [{ url, metadata: { a: "b" } }] }]) {
      const id = await api.create(alice);
      const answer = await patch(world, alice, id, change);
      assert.equal(answer.statusCode, 200, answer.body);
      const image = answer.json<Record<string, unknown>>();
      assert.deepEqual([image["status"], image["size"], image["direct_url"], image["locations"]], ["active", MiB, url, [{ url, metadata: { store: "web" } }]]);
    }
    const { images } = (await api.server.request("GET", "/image/v2/images", { token: alice.token })).json<{ images: Record<string, unknown>[] }>();
    assert.deepEqual(images.map((image) => image["direct_url"]), [url, url]);
  });

  it("keeps Glance's rules for the others", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(MiB, 1) }, "/bad": { bytes: converted("vdi") } }, SHOWN);
    const { api, web } = world;
    const [alice, bob] = [await api.alice(), await api.bob()];
    const id = await api.create(alice, { visibility: "shared" });
    const value = { url: `${web.url}/disk` };
    const refusals: readonly (readonly [object, number])[] = [
      [{ op: "replace", path: "/locations", value: [] }, 403],
      [{ op: "remove", path: "/locations/0" }, 400],
      [{ op: "replace", path: "/locations", value: [value, value] }, 413],
      [{ op: "add", path: "/locations/-", value: { url: `${web.url}/bad` } }, 415],
      [{ op: "add", path: "/locations/-", value: { url: `${web.url}/nothing` } }, 400],
    ];
    for (const [change, status] of refusals) assert.equal((await patch(world, alice, id, change)).statusCode, status, JSON.stringify(change));
    assert.equal((await patch(world, bob, id, { op: "add", path: "/locations/-", value })).statusCode, 404);
    assert.equal((await patch(world, alice, id, { op: "add", path: "/locations/-", value }, { op: "add", path: "/name", value: "n" })).statusCode, 400);
    assert.equal((await patch(world, alice, id, { op: "add", path: "/locations/-", value })).statusCode, 200);
    const later: readonly (readonly [object, number])[] = [
      [{ op: "add", path: "/locations/-", value }, 413],
      [{ op: "replace", path: "/locations", value: [value] }, 400],
      [{ op: "remove", path: "/locations/0" }, 403],
    ];
    for (const [change, status] of later) assert.equal((await patch(world, alice, id, change)).statusCode, status, JSON.stringify(change));
  });
});

describe("Stores of images", () => {
  const upload = ({ api }: World, { token }: Session, id: string, content: Buffer, store?: string) =>
    api.server.request("PUT", `/image/v2/images/${id}/file`, {
      token,
      headers: { "content-type": "application/octet-stream", ...(store !== undefined && { "x-image-meta-store": store }) },
      body: content,
    });

  it("are shown where there are several, with the default and what only others fill", async () => {
    await using world = await openWorld({});
    const { api } = world;
    const [alice, admin] = [await api.alice(), await api.admin()];
    const get = (path: string, { token }: Session) => api.server.request("GET", `/image/v2/info/${path}`, { token });
    const stores = [{ id: "local", default: "true" }, { id: "second" }, { id: "web", "read-only": "true" }];
    assert.deepEqual((await get("stores", alice)).json(), { stores });
    assert.equal((await get("stores/detail", alice)).statusCode, 403);
    const types = ["memory", "memory", "http"];
    assert.deepEqual((await get("stores/detail", admin)).json(), { stores: stores.map((store, i) => ({ ...store, type: types[i], weight: 0, properties: {} })) });
    const created = await api.server.request("POST", "/image/v2/images", { token: alice.token, body: {} });
    assert.equal(created.headers["openstack-image-store-ids"], "local,second");
  });

  it("take an upload by name; without one, the first that has room", async () => {
    await using world = await openWorld({});
    const { api } = world;
    const alice = await api.alice();
    const into = async (bytes: number, store?: string) => {
      const id = await api.create(alice);
      assert.equal((await upload(world, alice, id, Buffer.alloc(bytes, 1), store)).statusCode, 204);
      return (await api.show(alice, id))["stores"];
    };
    assert.equal(await into(MiB), "local");
    assert.equal(await into(MiB, "second"), "second");
    assert.equal(await into(8 * MiB), "second");
    const id = await api.create(alice);
    for (const store of ["nowhere", "web"]) assert.equal((await upload(world, alice, id, Buffer.alloc(10), store)).statusCode, 400, store);
    assert.equal((await api.show(alice, id))["status"], "queued");
  });

  it("let an image go only with its last copy, as the image itself", async () => {
    await using world = await openWorld({});
    const { api } = world;
    const alice = await api.alice();
    const id = await api.create(alice);
    await upload(world, alice, id, Buffer.alloc(MiB, 1), "second");
    const remove = async (store: string) => (await api.server.request("DELETE", `/image/v2/stores/${store}/${id}`, { token: alice.token })).statusCode;
    assert.deepEqual([await remove("second"), await remove("local"), await remove("nowhere")], [403, 404, 404]);
    const prefer = async (stores: string) => (await api.server.request("GET", `/image/v2/images/${id}/file?prefer=${stores}`, { token: alice.token })).statusCode;
    assert.deepEqual([await prefer("local,second"), await prefer("nowhere")], [200, 400]);
  });
});

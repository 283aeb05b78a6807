/**
 * What Mica says to requests that are wrong, asked of a real `mica serve`: the status and the words of the APIs, and in the end
 * nothing left over. What each API refuses in detail is tested beside its routes.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { GiB, MiB } from "#/lib/units.ts";
import { converted, created } from "./support/disk-images.ts";
import { MicaProcess } from "./support/mica-process.ts";
import { People } from "./support/people.ts";
import { filled } from "./support/variables.ts";

const NOWHERE = "11111111-2222-4333-8444-555555555555";
const OCTETS = { "content-type": "application/octet-stream" };
const BARE_RAW = { disk_format: "raw", container_format: "bare" };

let mica: MicaProcess;
let people: People;
/** `{image}`: an active one; `{queued}`: one without bytes; `{volume}`: one of 2 GiB; `{snapshot}`: of it. All are of the project lab. */
const ids = new Map<string, string>();

before(async () => {
  mica = await MicaProcess.start();
  people = await People.make(mica);
  for (const [name, id] of people.ids) ids.set(name, id);
  ids.set("queued", await newImage(BARE_RAW));
  ids.set("image", await activeImage(converted("qcow2"), "qcow2"));
  ids.set("volume", await newVolume({ size: 2 }));
  ids.set("snapshot", await newSnapshot(ids.get("volume") ?? ""));
});
after(() => mica?.[Symbol.asyncDispose]());

/** How the APIs say no: a method and a path, the body, the status, the words. */
interface Refusal {
  readonly ask: string;
  readonly as?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly status: number;
  readonly says: RegExp;
}

// biome-ignore format: a row for each request.
const WITHOUT_RIGHT: readonly Refusal[] = [
  { ask: "GET /image/v2/images", headers: { "x-auth-token": "" }, status: 401, says: /token/i },
  { ask: "GET /image/v2/images", headers: { "x-auth-token": "nonsense" }, status: 401, says: /token/i },
  { ask: "GET /volume/v3/{lab_project}/volumes", headers: { "x-auth-token": "e30.e30.e30" }, status: 401, says: /token/i },
  { ask: "GET /identity/v3/users", headers: { "x-auth-token": "x".repeat(8000) }, status: 401, says: /token/i },
  { ask: "POST /identity/v3/auth/tokens", body: login({ password: "wrong" }), status: 401, says: /The user, or the secret, is wrong/ },
  { ask: "POST /identity/v3/auth/tokens", body: login({ project: "elsewhere" }), status: 401, says: /./ },
  { ask: "GET /volume/v3/{elsewhere_project}/volumes", status: 400, says: /Malformed request URL: URL's project_id/ },
  { ask: "GET /volume/v3/{lab_project}/volumes/{volume}", as: "stranger", status: 400, says: /Malformed request URL: URL's project_id/ },
  { ask: "GET /volume/v3/{elsewhere_project}/volumes/{volume}", as: "stranger", status: 404, says: /Volume {volume} could not be found\./ },
  { ask: "GET /image/v2/images/{image}", as: "stranger", status: 404, says: /./ },
  { ask: "PUT /image/v2/images/{queued}/file", as: "stranger", body: new Uint8Array(10), headers: OCTETS, status: 404, says: /./ },
  { ask: "POST /image/v2/images", as: "reader", body: {}, status: 403, says: /role "member"/ },
  { ask: "POST /volume/v3/{lab_project}/volumes", as: "reader", body: { volume: { size: 1 } }, status: 403, says: /role "member"/ },
  { ask: "DELETE /volume/v3/{lab_project}/volumes/{volume}", as: "reader", status: 403, says: /role "member"/ },
  { ask: "POST /identity/v3/projects", body: { project: { name: "x" } }, status: 403, says: /role "admin"/ },
  { ask: "POST /volume/v3/{lab_project}/volumes/{volume}/action", body: { "os-reset_status": { status: "error" } }, status: 403, says: /role "admin"/ },
];

// biome-ignore format: a row for each request.
const UNKNOWN: readonly Refusal[] = [
  ["volumes", "Volume"],
  ["snapshots", "Snapshot"],
  ["types", "Volume type"],
].map(([path, noun]) => ({ ask: `GET /volume/v3/{lab_project}/${path}/${NOWHERE}`, status: 404, says: new RegExp(`${noun} ${NOWHERE} could not be found`) }));

// biome-ignore format: a row for each request.
const UNKNOWN_OTHERS: readonly Refusal[] = [
  { ask: `GET /image/v2/images/${NOWHERE}`, status: 404, says: new RegExp(NOWHERE) },
  { ask: `DELETE /image/v2/images/${NOWHERE}`, status: 404, says: new RegExp(NOWHERE) },
  { ask: "GET /image/v2/images/not-even-a-uuid", status: 404, says: /./ },
  { ask: `GET /volume/v3/{lab_project}/volumes/${"x".repeat(1000)}`, status: 404, says: /could not be found/ },
  { ask: `GET /identity/v3/projects/${NOWHERE}`, as: "admin", status: 404, says: /could not|no project/i },
  { ask: "POST /volume/v3/{lab_project}/volumes", body: { volume: { size: 1, imageRef: NOWHERE } }, status: 404, says: /Image .* could not be found/ },
  { ask: "POST /volume/v3/{lab_project}/volumes", body: { volume: { size: 1, snapshot_id: NOWHERE } }, status: 404, says: /Snapshot .* could not be found/ },
  { ask: "POST /volume/v3/{lab_project}/volumes", body: { volume: { size: 1, source_volid: NOWHERE } }, status: 404, says: /Volume .* could not be found/ },
  { ask: "POST /volume/v3/{lab_project}/volumes", body: { volume: { size: 1, volume_type: "gold" } }, status: 404, says: /Volume type .*gold.* could not be found/ },
  { ask: "GET /nothing/here", status: 404, says: /\/nothing\/here/ },
  { ask: "GET /image/v2/nothing", status: 404, says: /./ },
  { ask: "PATCH /volume/v3/{lab_project}/volumes/{volume}", body: {}, status: 405, says: /PATCH/ },
];

const newVolumeOf = (volume: object): Pick<Refusal, "ask" | "body"> => ({ ask: "POST /volume/v3/{lab_project}/volumes", body: { volume } });
const newImageOf = (body: unknown): Pick<Refusal, "ask" | "body"> => ({ ask: "POST /image/v2/images", body });

// biome-ignore format: a row for each request.
const WRONG: readonly Refusal[] = [
  ...[0, -1, 1.5, "x", true, [1], {}, 2 ** 53].map((size) => ({ ...newVolumeOf({ size }), status: 400, says: /size/ })),
  { ...newVolumeOf({}), status: 400, says: /size/i },
  { ...newVolumeOf({ size: 1001 }), status: 413, says: /VolumeSizeExceedsAvailableQuota|quota/i },
  { ...newVolumeOf({ size: 1, metadata: { a: "x".repeat(256) } }), status: 400, says: /metadata/ },
  { ...newVolumeOf({ size: 1, metadata: ["a"] }), status: 400, says: /metadata/ },
  { ...newVolumeOf({ size: 1, name: "x".repeat(256) }), status: 400, says: /name/ },
  { ...newVolumeOf({ size: 1, colour: "red" }), headers: { "openstack-api-version": "volume 3.53" }, status: 400, says: /colour/ },
  { ...newVolumeOf({ size: 1, availability_zone: "moon" }), status: 400, says: /Availability zone 'moon' is invalid/ },
  { ...newVolumeOf({ size: 1, imageRef: "{image}", snapshot_id: "{snapshot}" }), status: 400, says: /only one of/ },
  { ...newVolumeOf({ size: 1, imageRef: "{queued}" }), status: 400, says: /Image {queued} is not active/ },
  { ...newVolumeOf({ size: 1, source_volid: "{volume}" }), status: 400, says: /cannot be smaller than original volume size 2GB/ },
  { ...newVolumeOf({ size: 1, snapshot_id: "{snapshot}" }), status: 400, says: /cannot be smaller than the snapshot size 2GB/ },
  { ask: "POST /volume/v3/{lab_project}/volumes/{volume}/action", body: { "os-extend": { new_size: 1 } }, status: 400, says: /must be greater than current size/ },
  { ask: "POST /volume/v3/{lab_project}/volumes/{volume}/action", body: { "os-fly": {} }, status: 400, says: /os-fly/ },
  { ask: "POST /volume/v3/{lab_project}/volumes/{volume}/action", body: {}, status: 400, says: /one key/ },
  { ask: "DELETE /volume/v3/{lab_project}/volumes/{volume}", status: 400, says: /have snapshots/ },
  { ask: "GET /volume/v3/{lab_project}/volumes?limit=-1", status: 400, says: /limit/ },
  { ask: `GET /volume/v3/{lab_project}/volumes?marker=${NOWHERE}`, status: 404, says: new RegExp(NOWHERE) },
  { ...newImageOf({ disk_format: "floppy" }), status: 400, says: /disk_format/ },
  { ...newImageOf({ min_disk: -1 }), status: 400, says: /min_disk/ },
  { ...newImageOf({ id: "7" }), status: 400, says: /id/ },
  { ...newImageOf({ tags: ["x".repeat(256)] }), status: 400, says: /tags/ },
  { ...newImageOf({ checksum: "0" }), status: 403, says: /checksum/ },
  { ...newImageOf([]), status: 400, says: /./ },
  { ask: "GET /image/v2/images?limit=many", status: 400, says: /limit param must be an integer/ },
  { ask: "GET /image/v2/images?sort=colour", status: 400, says: /colour/ },
  { ask: "PATCH /image/v2/images/{image}", body: [], status: 415, says: /json-patch/ },
  { ask: "PUT /image/v2/images/{queued}/file", body: "text", headers: { "content-type": "text/plain" }, status: 415, says: /octet-stream/ },
  { ask: "PUT /image/v2/images/{queued}/file", body: new Uint8Array(10), headers: { ...OCTETS, "x-openstack-image-size": "11" }, status: 400, says: /11 bytes.*10/ },
  { ask: "PUT /image/v2/images/{image}/file", body: new Uint8Array(10), headers: OCTETS, status: 409, says: /active/ },
  { ask: "GET /image/v2/images/{image}/file", headers: { range: "bytes=99999999999-" }, status: 416, says: /./ },
  { ask: "POST /identity/v3/auth/tokens", body: { auth: 1 }, status: 400, says: /auth/ },
  { ask: "POST /image/v2/images", body: '{"name":', headers: { "content-type": "application/json" }, status: 400, says: /not valid JSON/ },
  { ask: "POST /image/v2/images", body: '{"__proto__":{}}', headers: { "content-type": "application/json" }, status: 400, says: /__proto__/ },
  { ask: "POST /volume/v3/{lab_project}/volumes", body: { volume: { size: 1, description: "x".repeat(2 * MiB) } }, status: 413, says: /./ },
];

// biome-ignore format: a row for each request.
const MICROVERSIONS: readonly Refusal[] = [
  ["volume 3.999", 406, /3\.0 to 3\.71/],
  ["volume 2.0", 406, /3\.0 to 3\.71/],
  ["volume three", 400, /three/],
  ["volume 3", 400, /3/],
].map(([version, status, says]) => ({
  ask: "GET /volume/v3/{lab_project}/volumes",
  headers: { "openstack-api-version": version as string },
  status: status as number,
  says: says as RegExp,
}));

// biome-ignore format: a row for each request.
const CALLS_OF_LATER_MICROVERSIONS: readonly Refusal[] = [
  { ask: "GET /volume/v3/{lab_project}/messages", headers: { "openstack-api-version": "volume 3.2" }, status: 404, says: /./ },
];

for (const [name, refusals] of Object.entries({
  "Without the right": WITHOUT_RIGHT,
  "What is not there": [...UNKNOWN, ...UNKNOWN_OTHERS],
  "What is wrong": WRONG,
  "Microversions that are not": [...MICROVERSIONS, ...CALLS_OF_LATER_MICROVERSIONS],
})) {
  describe(name, () => {
    for (const refusal of refusals) it(`${titleOf(refusal)}: ${refusal.status}`, () => check(refusal));
  });
}

function titleOf({ as, ask, body, headers }: Refusal): string {
  const sent = body instanceof Uint8Array ? `${body.length} bytes` : JSON.stringify(body);
  return [as, ask, sent, ...Object.values(headers ?? {})]
    .filter((part) => part !== undefined)
    .map((part) => part.slice(0, 120))
    .join(" ");
}

async function check({ ask, as = "member", body, headers = {}, status, says }: Refusal): Promise<void> {
  const [method = "", path = ""] = filled(ask, ids).split(" ");
  const content = typeof body === "object" && !(body instanceof Uint8Array) ? JSON.parse(filled(JSON.stringify(body), ids)) : body;
  const response = await mica.ask(method, path, {
    body: content,
    headers: { accept: "application/json", ...headers },
    token: await people.token(as),
  });
  const answer = await response.text();
  assert.equal(response.status, status, answer);
  assert.match(answer.replaceAll('\\"', '"'), new RegExp(filled(says.source, ids), says.flags));
  assert.match(response.headers.get("x-openstack-request-id") ?? "", /^req-/);
}

function login({ password = "wrong", project = "lab" }: { password?: string; project?: string }): object {
  const domain = { id: "default" };
  const user = { name: "admin", domain, password: password === "wrong" ? password : "secret of the tests" };
  return { auth: { identity: { methods: ["password"], password: { user } }, scope: { project: { name: project, domain } } } };
}

describe("Bytes that are not what was said", () => {
  it("a JSON body that is cut off makes nothing", async () => {
    const before = (await list("/volume/v3/volumes", "volumes")).length;
    await send(
      `POST /volume/v3/volumes HTTP/1.1`,
      { "content-type": "application/json", "content-length": "100" },
      '{"volume":{"size":1}',
      { end: "destroy" },
    );
    assert.equal((await list("/volume/v3/volumes", "volumes")).length, before);
  });

  it("a body that ends before its Content-Length is refused: 400", async () => {
    const answer = await send(
      "POST /image/v2/images HTTP/1.1",
      { "content-type": "application/json", "content-length": "100" },
      '{"name":"half"}',
      { end: "half-close" },
    );
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.equal((await list("/image/v2/images?name=half", "images")).length, 0);
  });

  for (const [what, headers] of [
    ["a Content-Length that is no number", { "content-length": "ten" }],
    ["a negative Content-Length", { "content-length": "-10" }],
    ["a Content-Length beside chunks", { "content-length": "10", "transfer-encoding": "chunked" }],
  ] as const) {
    it(`${what} is broken HTTP: 400`, async () => {
      const answer = await send(`PUT /image/v2/images/${ids.get("queued")}/file HTTP/1.1`, { ...OCTETS, ...headers }, "0123456789", {
        end: "wait",
      });
      assert.match(answer, /^HTTP\/1\.1 400 /);
      await assertQueued(ids.get("queued") ?? "");
    });
  }

  it("what follows a body that is longer than its Content-Length is broken HTTP, and the body is what was announced", async () => {
    const id = await newImage(BARE_RAW);
    const answer = await send(`PUT /image/v2/images/${id}/file HTTP/1.1`, { ...OCTETS, "content-length": "1024" }, "x".repeat(2048), {
      end: "wait",
    });
    assert.match(answer, /^HTTP\/1\.1 (204|400) /);
    await mica.until(
      () => image(id),
      ({ status }) => status !== "saving",
    );
    const { status, size } = await image(id);
    assert.ok(status === "queued" || (status === "active" && size === 1024), `${status} with ${size}`);
  });

  it("an upload that is cut off leaves the image queued, and it can be repeated", async () => {
    const id = await newImage(BARE_RAW);
    await send(`PUT /image/v2/images/${id}/file HTTP/1.1`, { ...OCTETS, "content-length": String(64 * MiB) }, randomBytes(MiB), {
      end: "destroy",
    });
    await mica.until(
      () => image(id),
      ({ status }) => status === "queued",
    );
    await assertQueued(id);
    assert.equal(await upload(id, randomBytes(MiB)), 204);
  });

  it("content of another format is refused: 415; then the right one is taken", async () => {
    const id = await newImage({ disk_format: "qcow2", container_format: "bare" });
    assert.equal(await upload(id, randomBytes(MiB)), 415);
    assert.equal(await upload(id, converted("vmdk")), 415);
    await assertQueued(id);
    assert.equal(await upload(id, converted("qcow2")), 204);
    assert.equal((await image(id)).status, "active");
  });

  it("a disk that reads a file of the host is refused: 415", async () => {
    const id = await newImage({ disk_format: "qcow2", container_format: "bare" });
    assert.equal(await upload(id, created("qcow2", ["-b", "/etc/passwd", "-F", "raw"], "1M")), 415);
    await assertQueued(id);
  });

  it("an image that is larger than the volume is refused: 400", async () => {
    const large = await activeImage(created("qcow2", [], String(3 * GiB)), "qcow2");
    await check({
      ...newVolumeOf({ size: 2, imageRef: large }),
      status: 400,
      says: new RegExp(`Image ${large} is unacceptable: Image virtual size is 3GB and doesn't fit in a volume of size 2GB`),
    });
  });
});

describe("At once", () => {
  it("of two deletes of an image one wins: 204 and 404", async () => {
    const id = await activeImage(randomBytes(MiB), "raw");
    assert.deepEqual(await Promise.all([remove(`/image/v2/images/${id}`), remove(`/image/v2/images/${id}`)]).then(sorted), [204, 404]);
  });

  it("of two deletes of a volume one wins: 202, and 400 or 404", async () => {
    const id = await newVolume({ size: 1 });
    const [won, lost] = await Promise.all([remove(`/volume/v3/volumes/${id}`), remove(`/volume/v3/volumes/${id}`)]).then(sorted);
    assert.equal(won, 202);
    assert.ok(lost === 400 || lost === 404, `${lost}`);
    await gone(`/volume/v3/volumes/${id}`);
  });

  it("of two deletes of a snapshot one wins: 202, and 400 or 404", async () => {
    const id = await newSnapshot(ids.get("volume") ?? "");
    const [won, lost] = await Promise.all([remove(`/volume/v3/snapshots/${id}`), remove(`/volume/v3/snapshots/${id}`)]).then(sorted);
    assert.equal(won, 202);
    assert.ok(lost === 400 || lost === 404, `${lost}`);
    await gone(`/volume/v3/snapshots/${id}`);
  });

  it("of two uploads to an image one wins: 204 and 409", async () => {
    const id = await newImage(BARE_RAW);
    assert.deepEqual(await Promise.all([upload(id, randomBytes(4 * MiB)), upload(id, randomBytes(4 * MiB))]).then(sorted), [204, 409]);
    assert.equal((await image(id)).status, "active");
  });

  it("a delete ends an upload: 204 for it, 410 for the upload", async () => {
    const id = await newImage(BARE_RAW);
    const uploading = upload(id, slowly(200));
    await mica.until(
      () => image(id),
      ({ status }) => status === "saving",
    );
    assert.equal(await remove(`/image/v2/images/${id}`), 204);
    assert.equal(await uploading, 410);
    assert.equal((await mica.ask("GET", `/image/v2/images/${id}`)).status, 404);
  });
});

it("nothing is left over, and the server is well", async () => {
  const { code, output } = await mica.audit();
  assert.equal(code, 0, output);
  assert.doesNotMatch(mica.output, /"level":(50|60)/, "no request was a defect");
});

const newImage = async (fields: object): Promise<string> =>
  (await mica.json("POST", "/image/v2/images", { body: fields, token: await people.token("member") })).id;
const image = (id: string) => mica.json("GET", `/image/v2/images/${id}`);
const list = async (path: string, noun: string): Promise<unknown[]> => (await mica.json("GET", path, await asMember()))[noun];
const sorted = (statuses: number[]): number[] => statuses.toSorted((a, b) => a - b);

/** Block Storage without the project in the path. */
async function asMember() {
  return { headers: { "openstack-api-version": "volume 3.70" }, token: await people.token("member") };
}

async function activeImage(bytes: Uint8Array, disk_format: string): Promise<string> {
  const id = await newImage({ disk_format, container_format: "bare" });
  assert.equal(await upload(id, bytes), 204);
  return id;
}

async function upload(id: string, body: Uint8Array | ReadableStream): Promise<number> {
  const response = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body, headers: OCTETS, token: await people.token("member") });
  await response.text();
  return response.status;
}

/** A body of so many pieces, with pauses. */
function slowly(pieces: number): ReadableStream {
  return ReadableStream.from(
    (async function* () {
      for (let piece = 0; piece < pieces; piece++) {
        yield randomBytes(64 * 1024);
        await sleep(20);
      }
    })(),
  );
}

async function newVolume(fields: object): Promise<string> {
  const { volume } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: fields }, ...(await asMember()) });
  await available(`/volume/v3/volumes/${volume.id}`, "volume");
  return volume.id;
}

async function newSnapshot(volumeId: string): Promise<string> {
  const { snapshot } = await mica.json("POST", "/volume/v3/snapshots", {
    body: { snapshot: { volume_id: volumeId } },
    ...(await asMember()),
  });
  await available(`/volume/v3/snapshots/${snapshot.id}`, "snapshot");
  return snapshot.id;
}

async function available(path: string, noun: string): Promise<void> {
  await mica.until(
    async () => (await mica.json("GET", path, await asMember()))[noun].status,
    (status) => status === "available",
  );
}

async function remove(path: string): Promise<number> {
  const response = await mica.ask("DELETE", path, await asMember());
  await response.text();
  return response.status;
}

async function gone(path: string): Promise<void> {
  await mica.until(
    async () => (await mica.ask("GET", path, await asMember())).status,
    (status) => status === 404,
  );
}

async function assertQueued(id: string): Promise<void> {
  const { status, size, checksum } = await image(id);
  assert.deepEqual([status, size, checksum], ["queued", null, null]);
}

/** Writes a request by hand; what comes back within a second, or until the server closes. */
async function send(
  line: string,
  headers: Record<string, string>,
  body: string | Uint8Array,
  { end }: { end: "destroy" | "half-close" | "wait" },
): Promise<string> {
  const { hostname, port } = new URL(mica.url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  const { token, headers: more } = await asMember();
  const all = { host: hostname, connection: "close", "x-auth-token": token, ...more, ...headers };
  let answer = "";
  const ended = new Promise((resolve) => socket.on("end", resolve).on("close", resolve));
  socket.on("data", (chunk) => (answer += chunk)).on("error", () => undefined);
  socket.write(
    `${line}\r\n${Object.entries(all)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join("")}\r\n`,
  );
  socket.write(body);
  await sleep(200);
  if (end === "destroy") socket.destroy();
  if (end === "half-close") socket.end();
  await Promise.race([ended, sleep(1000)]);
  socket.destroy();
  return answer;
}

/** Requests and what comes of them: the statuses that Glance gives (api-ref/source/v2, glance/api/v2). */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Session } from "#/api/test-server.ts";
import { ImageApi } from "../../../../test/support/image-api.ts";

const PATCH = "application/openstack-images-v2.1-json-patch";
const PATCH_20 = "application/openstack-images-v2.0-json-patch";
const UNKNOWN = "00000000-0000-4000-8000-000000000000";

type Who = "alice" | "reader" | "bob" | "admin" | "nobody";
/** `ID` in the path stands for the image under test. */
type Row = readonly [name: string, who: Who, request: string, body: unknown, status: number, options?: Options];
interface Options {
  readonly image?: object;
  readonly type?: string;
  readonly headers?: Record<string, string>;
}

let api: ImageApi;
const sessions = {} as Record<Who, Session>;

before(async () => {
  api = await ImageApi.open();
  sessions.alice = await api.alice();
  sessions.reader = await api.alice(["reader"]);
  sessions.bob = await api.bob();
  sessions.admin = await api.admin();
  sessions.nobody = { ...sessions.alice, token: "no-such-token" };
});
after(() => api[Symbol.asyncDispose]());

function table(title: string, rows: readonly Row[]): void {
  describe(title, () => {
    for (const row of rows) it(`${row[0]}: ${row[4]}`, () => ask(row));
  });
}

async function ask([, who, request, body, status, options = {}]: Row): Promise<void> {
  const id = request.includes("ID") ? await api.create(sessions.alice, { visibility: "private", ...options.image }) : "";
  const [method = "", path = ""] = request.replace("ID", id).split(" ");
  const type = options.type ?? (body === undefined ? undefined : "application/json");
  const answer = await api.server.request(method as "GET", `/image${path}`, {
    token: sessions[who].token,
    headers: { accept: "application/json", ...(type && { "content-type": type }), ...options.headers },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  assert.equal(answer.statusCode, status, answer.body);
  assert.match(String(answer.headers["x-openstack-request-id"]), /^req-/);
  if (status >= 400) assert.equal(answer.json<{ code: string }>().code.startsWith(String(status)), true, answer.body);
}

table("Versions", [
  ["at the root, without a token", "nobody", "GET /", undefined, 300],
  ["with a slash", "nobody", "GET /", undefined, 300],
  ["of v2", "nobody", "GET /v2/", undefined, 300],
  ["by name", "nobody", "GET /versions", undefined, 200],
]);

table("POST /v2/images", [
  ["nothing is required", "alice", "POST /v2/images", {}, 201],
  ["a reader", "reader", "POST /v2/images", {}, 403],
  ["a bad token", "nobody", "POST /v2/images", {}, 401],
  ["an id", "alice", "POST /v2/images", { id: "11111111-1111-4111-8111-111111111111" }, 201],
  ["an id that is there", "alice", "POST /v2/images", { id: "11111111-1111-4111-8111-111111111111" }, 409],
  ["an id that is none", "alice", "POST /v2/images", { id: "one" }, 400],
  ["no JSON", "alice", "POST /v2/images", "{", 400],
  ["no body", "alice", "POST /v2/images", undefined, 400],
  ["no object", "alice", "POST /v2/images", [], 400],
  ["a read-only attribute", "alice", "POST /v2/images", { self: "/v2/images/1" }, 403],
  ["a status", "alice", "POST /v2/images", { status: "active" }, 403],
  ["stores", "alice", "POST /v2/images", { stores: "a" }, 403],
  ["locations", "alice", "POST /v2/images", { locations: "file:///etc/passwd" }, 403],
  ["a reserved name", "alice", "POST /v2/images", { deleted: "true" }, 403],
  ["a reserved prefix", "alice", "POST /v2/images", { os_glance_stage_host: "x" }, 403],
  ["a name too long", "alice", "POST /v2/images", { name: "x".repeat(256) }, 400],
  ["a property's name too long", "alice", "POST /v2/images", { ["x".repeat(256)]: "1" }, 400],
  ["a property that is no string", "alice", "POST /v2/images", { size_class: 5 }, 400],
  ["an unknown disk_format", "alice", "POST /v2/images", { disk_format: "floppy" }, 400],
  ["a tag too long", "alice", "POST /v2/images", { tags: ["x".repeat(256)] }, 400],
  ["128 tags, one of them twice", "alice", "POST /v2/images", { tags: [...many(128), "0"] }, 201],
  ["129 tags", "alice", "POST /v2/images", { tags: many(129) }, 413],
  ["129 properties", "alice", "POST /v2/images", Object.fromEntries(many(129).map((name) => [`p${name}`, "1"])), 413],
  ["negative min_disk", "alice", "POST /v2/images", { min_disk: -1 }, 400],
  ["public by a member", "alice", "POST /v2/images", { visibility: "public" }, 403],
  ["public by the administrator", "admin", "POST /v2/images", { visibility: "public" }, 201],
  ["community by a member", "alice", "POST /v2/images", { visibility: "community" }, 201],
  ["of another project", "alice", "POST /v2/images", { owner: "bobs" }, 403],
  ["of another project by the administrator", "admin", "POST /v2/images", { owner: "bobs" }, 201],
  ["as bytes", "alice", "POST /v2/images", "bytes", 415, { type: "application/octet-stream" }],
]);

table("GET and DELETE /v2/images/{id}", [
  ["one's own", "alice", "GET /v2/images/ID", undefined, 200],
  ["a reader of the project", "reader", "GET /v2/images/ID", undefined, 200],
  ["another project's private image", "bob", "GET /v2/images/ID", undefined, 404],
  ["another project's community image", "bob", "GET /v2/images/ID", undefined, 200, { image: { visibility: "community" } }],
  [
    "another project's shared image without being a member",
    "bob",
    "GET /v2/images/ID",
    undefined,
    404,
    { image: { visibility: "shared" } },
  ],
  ["the administrator", "admin", "GET /v2/images/ID", undefined, 200],
  ["unknown", "alice", `GET /v2/images/${UNKNOWN}`, undefined, 404],
  ["a name instead of an id", "alice", "GET /v2/images/debian", undefined, 404],
  ["with a body", "alice", "GET /v2/images/ID", "x", 400],
  ["delete", "alice", "DELETE /v2/images/ID", undefined, 204],
  ["delete with a body", "alice", "DELETE /v2/images/ID", {}, 400],
  ["delete by a reader", "reader", "DELETE /v2/images/ID", undefined, 403],
  ["delete by another project", "bob", "DELETE /v2/images/ID", undefined, 404],
  ["delete of another project's community image", "bob", "DELETE /v2/images/ID", undefined, 403, { image: { visibility: "community" } }],
  ["delete of a protected image", "alice", "DELETE /v2/images/ID", undefined, 403, { image: { protected: true } }],
  ["delete of what is not", "alice", `DELETE /v2/images/${UNKNOWN}`, undefined, 404],
  ["another method", "alice", "PUT /v2/images/ID", {}, 405],
]);

const one = (op: string, path: string, value?: unknown) => [{ op, path, ...(value !== undefined && { value }) }];

table("PATCH /v2/images/{id}", [
  ["nothing", "alice", "PATCH /v2/images/ID", [], 200, { type: PATCH }],
  ["a name", "alice", "PATCH /v2/images/ID", one("replace", "/name", "new"), 200, { type: PATCH }],
  ["a property", "alice", "PATCH /v2/images/ID", one("add", "/os_distro", "debian"), 200, { type: PATCH }],
  ["with parameters of the media type", "alice", "PATCH /v2/images/ID", [], 200, { type: `${PATCH}; charset=utf-8` }],
  ["another media type", "alice", "PATCH /v2/images/ID", [], 415],
  ["no media type", "alice", "PATCH /v2/images/ID", undefined, 415],
  ["no body", "alice", "PATCH /v2/images/ID", undefined, 400, { type: PATCH }],
  ["no array", "alice", "PATCH /v2/images/ID", {}, 400, { type: PATCH }],
  ["no objects in it", "alice", "PATCH /v2/images/ID", [1], 400, { type: PATCH }],
  ["another operation", "alice", "PATCH /v2/images/ID", one("move", "/name", "x"), 400, { type: PATCH }],
  ["no operation", "alice", "PATCH /v2/images/ID", [{ path: "/name" }], 400, { type: PATCH }],
  ["no path", "alice", "PATCH /v2/images/ID", [{ op: "add", value: "x" }], 400, { type: PATCH }],
  ["no value", "alice", "PATCH /v2/images/ID", one("add", "/name"), 400, { type: PATCH }],
  ["a path without a slash", "alice", "PATCH /v2/images/ID", one("add", "name", "x"), 400, { type: PATCH }],
  ["a path that ends with one", "alice", "PATCH /v2/images/ID", one("add", "/name/", "x"), 400, { type: PATCH }],
  ["a path with two", "alice", "PATCH /v2/images/ID", one("add", "//name", "x"), 400, { type: PATCH }],
  ["a path with a wrong escape", "alice", "PATCH /v2/images/ID", one("add", "/na~2me", "x"), 400, { type: PATCH }],
  ["a path too deep", "alice", "PATCH /v2/images/ID", one("add", "/tags/0", "x"), 400, { type: PATCH }],
  ["a path that is no text", "alice", "PATCH /v2/images/ID", one("add", 5 as never, "x"), 400, { type: PATCH }],
  ["a wrong value", "alice", "PATCH /v2/images/ID", one("replace", "/min_disk", "5"), 400, { type: PATCH }],
  ["a property that is no text", "alice", "PATCH /v2/images/ID", one("add", "/p", 5), 400, { type: PATCH }],
  ...["id", "status", "size", "checksum", "created_at", "self", "file", "schema", "os_hash_value", "virtual_size", "direct_url"].map(
    (name): Row => [`the read-only ${name}`, "alice", "PATCH /v2/images/ID", one("replace", `/${name}`, "x"), 403, { type: PATCH }],
  ),
  ["a reserved name", "alice", "PATCH /v2/images/ID", one("add", "/location", "x"), 403, { type: PATCH }],
  ["a reserved prefix", "alice", "PATCH /v2/images/ID", one("add", "/os_glance_failed_import", "x"), 403, { type: PATCH }],
  ["removing an attribute", "alice", "PATCH /v2/images/ID", one("remove", "/name"), 403, { type: PATCH }],
  ["replacing what is not there", "alice", "PATCH /v2/images/ID", one("replace", "/p", "x"), 409, { type: PATCH }],
  ["removing what is not there", "alice", "PATCH /v2/images/ID", one("remove", "/p"), 409, { type: PATCH }],
  ["locations", "alice", "PATCH /v2/images/ID", one("add", "/locations/-", { url: "file:///etc/passwd" }), 403, { type: PATCH }],
  ["empty locations", "alice", "PATCH /v2/images/ID", one("replace", "/locations", []), 403, { type: PATCH }],
  ["public", "alice", "PATCH /v2/images/ID", one("replace", "/visibility", "public"), 403, { type: PATCH }],
  ["public by the administrator", "admin", "PATCH /v2/images/ID", one("replace", "/visibility", "public"), 200, { type: PATCH }],
  ["another owner", "alice", "PATCH /v2/images/ID", one("replace", "/owner", "bobs"), 403, { type: PATCH }],
  ["another owner by the administrator", "admin", "PATCH /v2/images/ID", one("replace", "/owner", "bobs"), 200, { type: PATCH }],
  ["129 tags", "alice", "PATCH /v2/images/ID", one("replace", "/tags", many(129)), 413, { type: PATCH }],
  [
    "129 properties",
    "alice",
    "PATCH /v2/images/ID",
    many(129).map((name) => ({ op: "add", path: `/p${name}`, value: "1" })),
    413,
    { type: PATCH },
  ],
  ["by a reader", "reader", "PATCH /v2/images/ID", [], 403, { type: PATCH }],
  ["by another project", "bob", "PATCH /v2/images/ID", [], 404, { type: PATCH }],
  ["of another project's community image", "bob", "PATCH /v2/images/ID", [], 403, { type: PATCH, image: { visibility: "community" } }],
  ["the older form", "alice", "PATCH /v2/images/ID", [{ replace: "/name", value: "x" }], 200, { type: PATCH_20 }],
  ["the older form adding what is there", "alice", "PATCH /v2/images/ID", [{ add: "/name", value: "x" }], 409, { type: PATCH_20 }],
  [
    "the older form with two operations",
    "alice",
    "PATCH /v2/images/ID",
    [{ add: "/p", remove: "/q", value: "x" }],
    400,
    { type: PATCH_20 },
  ],
  ["the newer form under the older name", "alice", "PATCH /v2/images/ID", one("replace", "/name", "x"), 400, { type: PATCH_20 }],
]);

table("Actions, tags and members", [
  ["deactivating a queued image", "alice", "POST /v2/images/ID/actions/deactivate", undefined, 403],
  ["reactivating a queued image", "alice", "POST /v2/images/ID/actions/reactivate", undefined, 403],
  ["deactivating what is not", "alice", `POST /v2/images/${UNKNOWN}/actions/deactivate`, undefined, 404],
  ["a tag, as glanceclient sends it", "alice", "PUT /v2/images/ID/tags/a%20b", undefined, 204, { type: "application/octet-stream" }],
  ["a tag too long", "alice", `PUT /v2/images/ID/tags/${"x".repeat(256)}`, undefined, 400],
  ["a tag by a reader", "reader", "PUT /v2/images/ID/tags/a", undefined, 403],
  ["removing a tag that is not there", "alice", "DELETE /v2/images/ID/tags/a", undefined, 404],
  ["the 129th tag", "alice", "PUT /v2/images/ID/tags/new", undefined, 413, { image: { tags: many(128) } }],
  ["a member", "alice", "POST /v2/images/ID/members", { member: "bobs" }, 200, { image: { visibility: "shared" } }],
  ["a member of a private image", "alice", "POST /v2/images/ID/members", { member: "bobs" }, 403],
  ["a member without a name", "alice", "POST /v2/images/ID/members", { member: "" }, 400, { image: { visibility: "shared" } }],
  ["no member", "alice", "POST /v2/images/ID/members", {}, 400, { image: { visibility: "shared" } }],
  ["members of a private image", "alice", "GET /v2/images/ID/members", undefined, 403],
  ["a member that is none", "alice", "GET /v2/images/ID/members/bobs", undefined, 404, { image: { visibility: "shared" } }],
  ["removing a member that is none", "alice", "DELETE /v2/images/ID/members/bobs", undefined, 404, { image: { visibility: "shared" } }],
  ["a status that is none", "alice", "PUT /v2/images/ID/members/bobs", { status: "maybe" }, 400, { image: { visibility: "shared" } }],
]);

table("What is not offered", [
  ["staging", "alice", "PUT /v2/images/ID/stage", undefined, 404],
  ["an import", "alice", "POST /v2/images/ID/import", { method: { name: "web-download" } }, 400],
  ["an import without a method", "alice", "POST /v2/images/ID/import", {}, 400],
  ["tasks", "alice", "GET /v2/images/ID/tasks", undefined, 200],
  ["adding a location", "alice", "POST /v2/images/ID/locations", { url: "http://example.org/" }, 403],
  ["reading locations", "admin", "GET /v2/images/ID/locations", undefined, 403],
  ["stores", "alice", "GET /v2/info/stores", undefined, 404],
  ["import methods", "alice", "GET /v2/info/import", undefined, 200],
  ["usage", "alice", "GET /v2/info/usage", undefined, 200],
  ["a download from a preferred store", "alice", "GET /v2/images/ID/file?prefer=fast", undefined, 400],
  ["the cache", "admin", "GET /v2/cache", undefined, 404],
  ["a schema", "reader", "GET /v2/schemas/image", undefined, 200],
  ["a schema without a token", "nobody", "GET /v2/schemas/image", undefined, 401],
]);

table("GET /v2/images", [
  ["all that concerns one", "reader", "GET /v2/images", undefined, 200],
  ["without a good token", "nobody", "GET /v2/images", undefined, 401],
  ["a limit that is no number", "alice", "GET /v2/images?limit=ten", undefined, 400],
  ["a negative limit", "alice", "GET /v2/images?limit=-1", undefined, 400],
  ["limit 0", "alice", "GET /v2/images?limit=0", undefined, 200],
  ["a limit beyond the largest", "alice", "GET /v2/images?limit=100000", undefined, 200],
  ["a marker that is not there", "alice", `GET /v2/images?marker=${UNKNOWN}`, undefined, 400],
  ["an unknown sort key", "alice", "GET /v2/images?sort_key=colour", undefined, 400],
  ["an unknown direction", "alice", "GET /v2/images?sort=name:up", undefined, 400],
  ["both forms of sorting", "alice", "GET /v2/images?sort=name&sort_key=name", undefined, 400],
  ["more directions than keys", "alice", "GET /v2/images?sort_key=name&sort_dir=asc&sort_dir=desc", undefined, 400],
  ["an unknown visibility", "alice", "GET /v2/images?visibility=secret", undefined, 400],
  ["an unknown member status", "alice", "GET /v2/images?member_status=maybe", undefined, 400],
  ["os_hidden that is neither", "alice", "GET /v2/images?os_hidden=perhaps", undefined, 400],
  ["protected in capitals", "alice", "GET /v2/images?protected=True", undefined, 400],
  ["a size that is no number", "alice", "GET /v2/images?size_min=big", undefined, 400],
  ["a negative size", "alice", "GET /v2/images?size_max=-1", undefined, 400],
  ["a time that is none", "alice", "GET /v2/images?created_at=gt:yesterday", undefined, 400],
  ["an unknown operator", "alice", "GET /v2/images?created_at=near:2026-01-01T00:00:00Z", undefined, 400],
  ["changes-since", "alice", "GET /v2/images?changes-since=2026-01-01T00:00:00Z", undefined, 400],
  ["a quote that does not end", "alice", 'GET /v2/images?name=in:"a', undefined, 400],
]);

function many(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index));
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Session } from "#/api/test-server.ts";
import { ImageApi } from "../../../../test/support/image-api.ts";

const PATCH = { "content-type": "application/openstack-images-v2.1-json-patch" };

/** A page as the API shows it. */
interface Page {
  readonly images: { id: string; name: string }[];
  readonly first: string;
  readonly next?: string;
}

const list = async (api: ImageApi, { token }: Session, query = ""): Promise<Page> => {
  const answer = await api.server.request("GET", `/image/v2/images${query}`, { token });
  assert.equal(answer.statusCode, 200, answer.body);
  return answer.json<Page>();
};
const names = ({ images }: Page) => images.map(({ name }) => name);

describe("Images", () => {
  it("shows a new image as Glance does", async () => {
    await using api = await ImageApi.open();
    const alice = await api.alice();
    const answer = await api.server.request("POST", "/image/v2/images", {
      token: alice.token,
      body: { name: "n", tags: ["b", "a"], os_distro: "debian", min_disk: 2 },
    });
    const { id, created_at, updated_at, ...image } = answer.json<Record<string, string>>();
    assert.equal(answer.headers["location"], `/v2/images/${id}`);
    assert.match(created_at ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.equal(updated_at, created_at);
    assert.deepEqual(
      { ...image, tags: Array.from(image["tags"] as Iterable<string>).toSorted() },
      {
        name: "n",
        os_distro: "debian",
        status: "queued",
        visibility: "shared",
        owner: alice.projectId,
        protected: false,
        os_hidden: false,
        disk_format: null,
        container_format: null,
        min_disk: 2,
        min_ram: 0,
        size: null,
        virtual_size: null,
        checksum: null,
        os_hash_algo: null,
        os_hash_value: null,
        tags: ["a", "b"],
        self: `/v2/images/${id}`,
        file: `/v2/images/${id}/file`,
        schema: "/v2/schemas/image",
      },
    );
  });

  it("applies a patch as a whole, or not at all", async () => {
    await using api = await ImageApi.open();
    const alice = await api.alice();
    const id = await api.create(alice, { name: "before" });
    const patch = (body: object[]) =>
      api.server.request("PATCH", `/image/v2/images/${id}`, { token: alice.token, headers: PATCH, body: JSON.stringify(body) });
    const rename = { op: "replace", path: "/name", value: "after" };
    assert.equal((await patch([rename, { op: "remove", path: "/missing" }])).statusCode, 409);
    assert.equal((await api.show(alice, id))["name"], "before");
    assert.equal((await patch([rename, { op: "add", path: "/a~1b", value: "1" }])).statusCode, 200);
    const { name, "a/b": property } = await api.show(alice, id);
    assert.deepEqual({ name, property }, { name: "after", property: "1" });
  });

  it("pages with the links it gives, and each image comes once", async () => {
    await using api = await ImageApi.open();
    const alice = await api.alice();
    for (const name of ["c", "a", "e", "b", "d"]) await api.create(alice, { name });
    const seen: string[] = [];
    let page = await list(api, alice, "?limit=2&sort=name:asc");
    assert.equal(page.first, "/v2/images?limit=2&sort=name%3Aasc");
    for (;;) {
      seen.push(...names(page));
      if (page.next === undefined) break;
      page = await list(api, alice, page.next.slice("/v2/images".length));
    }
    assert.deepEqual(seen, ["a", "b", "c", "d", "e"]);
  });

  it("filters by attributes, properties, tags, sizes and times", async () => {
    await using api = await ImageApi.open();
    const alice = await api.alice();
    const big = await api.create(alice, { name: "big, one", tags: ["x", "y"], os_distro: "debian" });
    await api.upload(alice, big, Buffer.alloc(2048));
    await api.create(alice, { name: "small", tags: ["x"], disk_format: "qcow2", protected: true });
    await api.create(alice, { name: "hidden", os_hidden: true });
    const cases: [query: string, expected: string[]][] = [
      ["?sort=name:asc", ["big, one", "small"]],
      ["?os_hidden=true", ["hidden"]],
      ['?name=in:"big, one",other', ["big, one"]],
      ["?name=small", ["small"]],
      ["?status=active", ["big, one"]],
      ["?status=in:active,queued&sort=name", ["small", "big, one"]],
      ["?disk_format=qcow2", ["small"]],
      ["?protected=true", ["small"]],
      ["?protected=false", ["big, one"]],
      ["?tag=x&sort=name", ["small", "big, one"]],
      ["?tag=x&tag=y", ["big, one"]],
      ["?os_distro=debian", ["big, one"]],
      ["?os_distro=arch", []],
      ["?size_min=2048", ["big, one"]],
      ["?size_max=2047", []],
      ["?size_min=1&size_max=4096", ["big, one"]],
      [`?id=in:${big}`, ["big, one"]],
      [`?owner=${alice.projectId}&sort=name`, ["small", "big, one"]],
      ["?owner=somebody", []],
      ["?created_at=gt:2000-01-01T00:00:00Z&sort=name", ["small", "big, one"]],
      ["?created_at=lt:2000-01-01T00:00:00Z", []],
      ["?visibility=private", []],
      ["?visibility=shared&limit=1&sort=name", ["small"]],
      ["?limit=0", []],
      ["?min_disk=0&name=small", ["small"]],
      ["?min_disk=1", []],
    ];
    for (const [query, expected] of cases) assert.deepEqual(names(await list(api, alice, query)), expected, query);
  });

  it("lists what is one's own, public, or shared and accepted, and others' community images only when asked", async () => {
    await using api = await ImageApi.open();
    const [alice, bob, admin] = [await api.alice(), await api.bob(), await api.admin()];
    await api.create(admin, { name: "public", visibility: "public" });
    await api.create(alice, { name: "community", visibility: "community" });
    await api.create(alice, { name: "private", visibility: "private" });
    const shared = await api.create(alice, { name: "shared", visibility: "shared" });
    const lists = async (session: Session, query: string) => names(await list(api, session, `?sort=name:asc${query}`));
    assert.deepEqual(await lists(alice, ""), ["community", "private", "public", "shared"]);
    assert.deepEqual(await lists(bob, ""), ["public"]);
    assert.deepEqual(await lists(admin, ""), ["private", "public", "shared"]);
    assert.deepEqual(await lists(bob, "&visibility=community"), ["community"]);
    assert.deepEqual(await lists(bob, "&visibility=all"), ["community", "public"]);
    assert.deepEqual(await lists(admin, "&visibility=all"), ["community", "private", "public", "shared"]);
    assert.deepEqual(await lists(bob, "&visibility=private"), []);

    const member = `/image/v2/images/${shared}/members`;
    assert.equal((await api.server.request("POST", member, { token: alice.token, body: { member: bob.projectId } })).statusCode, 200);
    assert.deepEqual(await lists(bob, ""), ["public"]);
    assert.deepEqual(await lists(bob, "&member_status=pending&visibility=shared"), ["shared"]);
    const accept = { token: bob.token, body: { status: "accepted" } };
    assert.equal((await api.server.request("PUT", `${member}/${bob.projectId}`, accept)).statusCode, 200);
    assert.deepEqual(await lists(bob, ""), ["public", "shared"]);
  });

  it("keeps the invitation with the owner, and the answer with the invited", async () => {
    await using api = await ImageApi.open();
    const [alice, bob] = [await api.alice(), await api.bob()];
    const id = await api.create(alice, { visibility: "shared" });
    const path = `/image/v2/images/${id}/members`;
    const ask = async (method: "GET" | "POST" | "PUT" | "DELETE", { token }: Session, rest = "", body?: object) =>
      (await api.server.request(method, `${path}${rest}`, { token, ...(body && { body }) })).statusCode;
    assert.equal(await ask("POST", bob, "", { member: bob.projectId }), 404);
    assert.equal(await ask("POST", alice, "", { member: bob.projectId }), 200);
    assert.equal(await ask("POST", alice, "", { member: bob.projectId }), 409);
    assert.equal(await ask("PUT", alice, `/${bob.projectId}`, { status: "accepted" }), 403);
    assert.equal(await ask("PUT", bob, `/${bob.projectId}`, { status: "rejected" }), 200);
    assert.equal(await ask("POST", bob, "", { member: "third" }), 403);
    assert.equal(await ask("DELETE", bob, `/${bob.projectId}`), 403);
    assert.equal(await ask("POST", alice, "", { member: "third" }), 200);
    const members = async ({ token }: Session) =>
      (await api.server.request("GET", path, { token })).json<{ members: { member_id: string; status: string }[] }>().members;
    assert.deepEqual(
      (await members(alice)).map(({ status }) => status),
      ["rejected", "pending"],
    );
    assert.deepEqual(
      (await members(bob)).map(({ member_id }) => member_id),
      [bob.projectId],
    );
    assert.equal(await ask("GET", bob, "/third"), 404);
    assert.equal(await ask("DELETE", alice, `/${bob.projectId}`), 204);
    assert.equal(await ask("GET", bob, ""), 404);
  });

  it("hides the bytes of a deactivated image from all but the administrator", async () => {
    await using api = await ImageApi.open();
    const [alice, admin] = [await api.alice(), await api.admin()];
    const id = await api.create(alice);
    await api.upload(alice, id, Buffer.from("bytes"));
    const act = async (action: string) =>
      (await api.server.request("POST", `/image/v2/images/${id}/actions/${action}`, { token: alice.token })).statusCode;
    const download = async ({ token }: Session) => (await api.server.request("GET", `/image/v2/images/${id}/file`, { token })).statusCode;
    assert.equal(await act("deactivate"), 204);
    assert.equal(await act("deactivate"), 204);
    assert.equal((await api.show(alice, id))["status"], "deactivated");
    assert.deepEqual([await download(alice), await download(admin)], [403, 200]);
    assert.equal(await act("reactivate"), 204);
    assert.deepEqual([await download(alice), (await api.show(alice, id))["status"]], [200, "active"]);
  });

  it("deletes an image with its bytes, once", async () => {
    await using api = await ImageApi.open();
    const alice = await api.alice();
    const id = await api.create(alice);
    await api.upload(alice, id, Buffer.alloc(4096, 7));
    const remove = async () => (await api.server.request("DELETE", `/image/v2/images/${id}`, { token: alice.token })).statusCode;
    assert.deepEqual((await Promise.all([remove(), remove()])).toSorted((a, b) => a - b), [204, 404]);
    assert.deepEqual(await api.show(alice, id), { status: 404 });
    assert.deepEqual(await api.leftovers(), { findings: [], disks: [], reservedBytes: 0 });
  });

  it("tells what a project uses", async () => {
    await using api = await ImageApi.open();
    const alice = await api.alice();
    await api.upload(alice, await api.create(alice), Buffer.alloc(1024 * 1024 + 1));
    await api.create(alice);
    const { usage } = (await api.server.request("GET", "/image/v2/info/usage", { token: alice.token })).json<{
      usage: Record<string, { usage: number }>;
    }>();
    assert.deepEqual(
      [usage["image_count_total"]?.usage, usage["image_size_total"]?.usage, usage["image_count_uploading"]?.usage],
      [2, 2, 0],
    );
  });

  it("lists its versions, newest first, with the address that the client used", async () => {
    await using api = await ImageApi.open();
    const answer = await api.server.request("GET", "/image/", { headers: { host: "cloud.example:6422" } });
    const [newest] = answer.json<{ versions: object[] }>().versions;
    assert.deepEqual(newest, { id: "v2.17", status: "CURRENT", links: [{ rel: "self", href: "http://cloud.example:6422/image/v2/" }] });
  });

  it("answers in HTML to clients that take anything, as Glance's own client expects", async () => {
    await using api = await ImageApi.open();
    const { token } = await api.alice();
    const answer = await api.server.request("GET", "/image/v2/images/none", { token, headers: { accept: "*/*" } });
    assert.equal(answer.statusCode, 404);
    assert.match(String(answer.headers["content-type"]), /^text\/html/);
    assert.match(answer.body, /No image found with ID none/);
  });
});

/** Whatever is sent: a refusal in words, never a 5xx, and nothing half done. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import type { Session } from "#/api/test-server.ts";
import { ImageApi } from "../../../../test/support/image-api.ts";

const PATCH = { "content-type": "application/openstack-images-v2.1-json-patch" };
const ATTRIBUTES = [
  "name",
  "tags",
  "visibility",
  "protected",
  "os_hidden",
  "min_disk",
  "min_ram",
  "disk_format",
  "container_format",
  "owner",
];

let api: ImageApi;
let alice: Session;

before(async () => {
  api = await ImageApi.open();
  alice = await api.alice();
});
after(() => api[Symbol.asyncDispose]());

const ask = (method: "GET" | "POST" | "PATCH" | "PUT", path: string, body?: string, headers: Record<string, string> = {}) =>
  api.server.request(method, `/image${path}`, { token: alice.token, headers, ...(body !== undefined && { body }) });

const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.string({ maxLength: 300 }),
  fc.constantFrom("\u0000", "a\u0000b", "\ud800", "\udfff x", ""),
);
const anyValue = fc.oneof(anyText, fc.jsonValue({ maxDepth: 2 }), fc.constantFrom("public", "private", "raw", "bare"));
const anyName = fc.oneof(
  fc.constantFrom(...ATTRIBUTES, "id", "status", "locations", "os_glance_x", "constructor", "toString", "hasOwnProperty", "p", "q"),
  anyText,
);
const anyOperation = fc.oneof(
  fc.record(
    {
      op: fc.constantFrom("add", "replace", "remove", "move"),
      path: fc.oneof(
        anyName.map((name) => `/${name}`),
        anyText,
        fc.jsonValue({ maxDepth: 1 }),
      ),
      value: anyValue,
    },
    { requiredKeys: ["op", "path"] },
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

describe("Bad input", () => {
  it("never breaks a create, and what is created is what was sent", async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(anyName, anyValue, { maxKeys: 4, noNullPrototype: true }), async (body) => {
        const answer = await ask("POST", "/v2/images", JSON.stringify(body), { "content-type": "application/json" });
        assert(answer.statusCode < 500, `${answer.statusCode} ${answer.body}`);
        if (answer.statusCode !== 201) return;
        const shown = await api.show(alice, answer.json<{ id: string }>().id);
        for (const [name, value] of Object.entries(JSON.parse(JSON.stringify(body)) as Record<string, unknown>)) {
          if (name !== "tags") assert.deepEqual(shown[name], value, name);
          else assert.deepEqual((shown[name] as string[]).toSorted(), [...new Set(value as string[])].toSorted());
        }
      }),
      { numRuns: 200 },
    );
  });

  it("never breaks a patch, and a refused one changes nothing", async () => {
    const id = await api.create(alice, { p: "1" });
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.array(anyOperation, { maxLength: 3 }), fc.jsonValue({ maxDepth: 2 })), async (body) => {
        const earlier = await api.show(alice, id);
        const answer = await ask("PATCH", `/v2/images/${id}`, JSON.stringify(body), PATCH);
        assert(answer.statusCode < 500, `${answer.statusCode} ${answer.body}`);
        if (answer.statusCode >= 400) assert.deepEqual(await api.show(alice, id), earlier);
        else assert.deepEqual(await api.show(alice, id), answer.json());
      }),
      { numRuns: 200 },
    );
  });

  it("never breaks a list", async () => {
    const names = [
      "limit",
      "marker",
      "sort",
      "sort_key",
      "sort_dir",
      "visibility",
      "member_status",
      "name",
      "id",
      "size_min",
      "created_at",
      "tag",
      "owner",
      "protected",
      "os_hidden",
      "min_disk",
      "checksum",
      "constructor",
      "__proto__",
    ];
    const value = fc.oneof(
      anyText,
      fc.constantFrom(
        "in:",
        'in:"',
        "1",
        "-1",
        "1e9",
        "99999999999999999999",
        "gt:x",
        "name:asc",
        "all",
        "2026-01-01T00:00:00Z",
        "9".repeat(15),
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.oneof(fc.constantFrom(...names), anyText), value), { maxLength: 4 }), async (pairs) => {
        const query = pairs.map((pair) => pair.map((part) => encodeURIComponent(part.toWellFormed())).join("=")).join("&");
        const answer = await ask("GET", `/v2/images?${query}`);
        assert(answer.statusCode < 500, `${query}: ${answer.statusCode} ${answer.body}`);
      }),
      { numRuns: 200 },
    );
  });

  it("never breaks a path", async () => {
    const id = await api.create(alice);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("/v2/images/@", "/v2/images/@/file", `/v2/images/${id}/tags/@`, `/v2/images/${id}/members/@`, "/@"),
        anyText,
        async (path, text) => {
          const answer = await ask(path.includes("tags") ? "PUT" : "GET", path.replace("@", encodeURIComponent(text.toWellFormed())));
          assert(answer.statusCode < 500, `${answer.statusCode} ${answer.body}`);
        },
      ),
      { numRuns: 100 },
    );
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeConfig } from "./describe.ts";
import { loadConfig } from "./load.ts";
import { OPTIONS } from "./options.ts";

describe("describeConfig()", () => {
  it("shows every option with its source, and no secret", () => {
    const env = { HOME: "/home/ann", MICA_ADMIN_PASSWORD: "geheim" };
    const rows = describeConfig(loadConfig({ env, cwd: "/", readFile: () => undefined, flags: { listen: "[::1]:0" } }));
    assert.deepEqual(
      rows.map(({ key }) => key),
      OPTIONS.map(({ key }) => key),
    );
    assert.deepEqual(
      rows.find(({ key }) => key === "listen"),
      { key: "listen", value: "[::1]:0", source: "flag" },
    );
    assert.deepEqual(
      rows.find(({ key }) => key === "adminPassword"),
      { key: "adminPassword", value: "(secret)", source: "environment" },
    );
    assert.doesNotMatch(JSON.stringify(rows), /geheim/);
  });
});

describe("OPTIONS", () => {
  it("have a reason each, and names of their own", () => {
    assert.deepEqual(
      OPTIONS.filter(({ schema }) => !schema.description).map(({ key }) => key),
      [],
    );
    assert.equal(new Set(OPTIONS.map(({ env }) => env)).size, OPTIONS.length);
  });

  it("carry a unit in the name of each number that has one", () => {
    const wrong = OPTIONS.filter(
      ({ key, schema }) => (schema.unit === "ms" && !/Ms(Max)?$/.test(key)) || (schema.unit === "bytes" && !/Bytes(Max)?$/.test(key)),
    );
    assert.deepEqual(
      wrong.map(({ key }) => key),
      [],
    );
  });

  it("have a default, by value or in words", () => {
    assert.deepEqual(
      OPTIONS.filter(({ schema }) => schema.default === undefined && !schema.derived).map(({ key }) => key),
      [],
    );
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseListQuery, parseValues } from "./list-query.ts";
import { parseRange } from "./range.ts";
import { parseTimeCondition } from "./time-condition.ts";

const LIMITS = { defaultLimit: 25, maxLimit: 1000 };
const parse = (query: string) => parseListQuery(new URLSearchParams(query), LIMITS);

describe("parseListQuery()", () => {
  it("asks for the first 25, newest first, that are not hidden", () => {
    const { filter, ...request } = parse("");
    assert.deepEqual(request, {
      visibility: undefined,
      memberStatus: "accepted",
      sort: [{ key: "created_at", direction: "desc" }],
      limit: 25,
      markerId: undefined,
    });
    assert.deepEqual(filter, { isHidden: false, oneOf: {}, equal: {}, times: [], tags: [], properties: {} });
  });

  it("takes every parameter that it does not know for a property", () => {
    assert.deepEqual(parse("os_distro=debian&hw_disk_bus=scsi").filter.properties, { os_distro: "debian", hw_disk_bus: "scsi" });
  });

  it("collects tags, and cuts the limit", () => {
    const { filter, limit } = parse("tag=a&tag=%20b&limit=5000");
    assert.deepEqual(filter.tags, ["a", "b"]);
    assert.equal(limit, 1000);
  });

  it("pairs sort keys with directions in both forms", () => {
    const sort = [
      { key: "name", direction: "asc" },
      { key: "size", direction: "desc" },
    ];
    assert.deepEqual(parse("sort=name:asc,size:desc").sort, sort);
    assert.deepEqual(parse("sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc").sort, sort);
    assert.deepEqual(parse("sort=name:asc,size").sort, sort);
    assert.deepEqual(
      parse("sort_key=name&sort_key=size&sort_dir=asc").sort.map(({ direction }) => direction),
      ["asc", "asc"],
    );
    assert.deepEqual(parse("sort_dir=asc").sort, [{ key: "created_at", direction: "asc" }]);
  });
});

describe("parseValues()", () => {
  const rows: [string, string[]][] = [
    ["debian", ["debian"]],
    ["a,b", ["a,b"]],
    ["in:a,b", ["a", "b"]],
    ["in: a , b ", ["a", "b"]],
    ['in:"glass, darkly","share me"', ["glass, darkly", "share me"]],
    ['in:a,"b,c",d', ["a", "b,c", "d"]],
    ['in:"say \\"hi\\""', ['say "hi"']],
    ["in:", [""]],
  ];
  for (const [text, values] of rows) it(`reads ${text}`, () => assert.deepEqual(parseValues(text), values));
  for (const text of ['in:"a', 'in:"a"b', 'in:a"b"'])
    it(`refuses ${text}`, () => assert.throws(() => parseValues(text), { code: "bad_request" }));
});

describe("parseTimeCondition()", () => {
  const second = Date.parse("2026-01-31T12:00:00Z");
  it("takes a second as a whole, since the API shows no less", () => {
    assert.deepEqual(parseTimeCondition("created_at", "2026-01-31T12:00:00Z"), {
      attribute: "created_at",
      fromMs: second,
      beforeMs: second + 1000,
      inverted: false,
    });
    assert.equal(parseTimeCondition("created_at", "gt:2026-01-31T12:00:00Z").fromMs, second + 1000);
    assert.equal(parseTimeCondition("created_at", "lte:2026-01-31T12:00:00Z").beforeMs, second + 1000);
    assert.equal(parseTimeCondition("created_at", "neq:2026-01-31T12:00:00Z").inverted, true);
  });

  it("understands zones, their absence, and a plus that became a space", () => {
    for (const text of [
      "2026-01-31T12:00:00",
      "2026-01-31T14:00:00+02:00",
      "2026-01-31T14:00:00 02:00",
      "2026-01-31T14:00:00+0200",
      "2026-01-31 12:00:00.5",
    ]) {
      assert.equal(parseTimeCondition("updated_at", text).fromMs, second, text);
    }
    assert.equal(parseTimeCondition("updated_at", "2026-01-31").fromMs, Date.parse("2026-01-31T00:00:00Z"));
  });
});

describe("parseRange()", () => {
  const rows: [string | undefined, number, unknown][] = [
    [undefined, 10, undefined],
    ["bytes=0-4", 10, { start: 0, end: 5 }],
    ["bytes=5-", 10, { start: 5, end: 10 }],
    ["bytes=-3", 10, { start: 7, end: 10 }],
    ["bytes=-30", 10, { start: 0, end: 10 }],
    ["bytes=9-100", 10, { start: 9, end: 10 }],
    [" Bytes = 1 - 2 ", 10, { start: 1, end: 3 }],
  ];
  for (const [header, size, range] of rows) it(`reads ${header}`, () => assert.deepEqual(parseRange(header, size), range));
  for (const header of ["bytes=10-", "bytes=-0", "bytes=5-4", "bytes=-", "chars=0-4", "bytes=a-b", "bytes=0-4-5"]) {
    it(`cannot satisfy ${header}`, () => assert.throws(() => parseRange(header, 10), { code: "range_not_satisfiable" }));
  }
  it("cannot satisfy any range of nothing", () => assert.throws(() => parseRange("bytes=0-", 0), { code: "range_not_satisfiable" }));
  it("refuses several", () => assert.throws(() => parseRange("bytes=0-1,3-4", 10), { code: "bad_request" }));
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TestWorld } from "./test-world.ts";

type Named = { name: string };
const names = (list: Named[]): string => list.map(({ name }) => name).join("");

describe("GET /volumes", () => {
  it("shows the project's volumes, newest first; all of them to admins that ask", async () => {
    await using world = await TestWorld.open();
    await world.makeVolume({ name: "a" });
    await world.makeVolume({ name: "b" });
    await world.makeVolume({ name: "c" }, { as: world.admin });
    const bob = await world.server.login("bob", "elsewhere");
    const list = async (path: string, as = world.alice) => names((await world.expect(200, "GET", path, { as })).volumes);
    assert.equal(await list("/volumes"), "ba");
    assert.equal(await list("/volumes?all_tenants=1"), "ba");
    assert.equal(await list("/volumes/detail?all_tenants=1", bob), "");
    assert.equal(await list("/volumes", world.admin), "c");
    assert.equal(await list("/volumes?all_tenants=True", world.admin), "cba");
    assert.equal(await list(`/volumes?all_tenants=1&project_id=${world.alice.projectId}`, world.admin), "ba");
  });

  it("pages by marker, links to the next page, and ends without one", async () => {
    await using world = await TestWorld.open();
    for (const name of "abcde") await world.makeVolume({ name });
    const seen: string[] = [];
    let path: string | undefined = "/volumes?limit=2";
    while (path && seen.length < 5) {
      const page: { volumes: Named[]; volumes_links?: { rel: string; href: string }[] } = await world.expect(200, "GET", path);
      seen.push(names(page.volumes));
      const [link] = page.volumes_links ?? [];
      assert.ok(!link || link.rel === "next");
      path = link && new URL(link.href).pathname.replace("/volume/v3", "") + new URL(link.href).search;
    }
    assert.deepEqual(seen, ["ed", "cb", "a"]);
    assert.equal(names((await world.expect(200, "GET", "/volumes?limit=2&offset=1")).volumes), "dc");
    assert.deepEqual((await world.expect(200, "GET", "/volumes?limit=0")).volumes, []);
  });

  it("sorts by one key or more, in each direction, with and without a marker", async () => {
    await using world = await TestWorld.open();
    const ids = new Map<string, string>();
    for (const [name, size] of [
      ["a", 2],
      ["b", 1],
      ["c", 2],
      ["d", 1],
    ] as const)
      ids.set(name, await world.makeVolume({ name, size }));
    const list = async (query: string) => names((await world.expect(200, "GET", `/volumes?${query}`)).volumes);
    assert.equal(await list("sort=name:asc"), "abcd");
    assert.equal(await list("sort=name"), "dcba");
    assert.equal(await list("sort_key=name&sort_dir=asc"), "abcd");
    assert.equal(await list("sort=size:asc,name:desc"), "dbca");
    assert.equal(await list("sort=size:desc"), "cadb");
    assert.equal(await list(`sort=name:asc&marker=${ids.get("b")}`), "cd");
    assert.equal(await list(`sort=size:asc,name:desc&marker=${ids.get("b")}`), "ca");
    assert.equal(await list(`sort=size:desc&marker=${ids.get("a")}`), "db");
  });

  it("sorts volumes without a name before all others", async () => {
    await using world = await TestWorld.open();
    const unnamed = await world.makeVolume({});
    await world.makeVolume({ name: "a" });
    const { volumes } = await world.expect(200, "GET", "/volumes?sort=name:asc");
    assert.deepEqual(
      volumes.map(({ name }: Named) => name),
      [null, "a"],
    );
    const { volumes: rest } = await world.expect(200, "GET", `/volumes?sort=name:asc&marker=${unnamed}`);
    assert.equal(names(rest), "a");
  });

  it("filters", async () => {
    await using world = await TestWorld.open();
    await world.makeVolume({ name: "a", size: 2, metadata: { colour: "red", said: `it's "so"` } });
    const bootable = await world.makeVolume({ name: "ab", imageRef: await world.makeImage() });
    await world.setStatus(bootable, "error");
    const list = async (query: string, minor = 71) =>
      names((await world.expect(200, "GET", `/volumes/detail?${query}`, { minor })).volumes);
    const cases: [query: string, expected: string][] = [
      ["name=a", "a"],
      ["name~=a", "aba"],
      ["name~=B", "ab"],
      ["name~=%25", ""],
      ["status=error", "ab"],
      ["size=2", "a"],
      ["bootable=true", "ab"],
      ["bootable=false", "a"],
      ["availability_zone=nova", "aba"],
      ["availability_zone=mars", ""],
      ["migration_status=none", "aba"],
      ["consumes_quota=false", ""],
      ["group_id=x", ""],
      [`metadata=${encodeURIComponent("{'colour': 'red'}")}`, "a"],
      [`metadata=${encodeURIComponent('{"colour":"red"}')}`, "a"],
      [`metadata=${encodeURIComponent(`{'said': 'it\\'s "so"', 'colour': 'red'}`)}`, "a"],
      [`metadata=${encodeURIComponent("{'colour': 'blue'}")}`, ""],
      [`glance_metadata=${encodeURIComponent("{'os_distro': 'cirros'}")}`, "ab"],
      ["created_at=gt:2020-01-01T00:00:00", "aba"],
      ["created_at=gt:2020-01-01T00:00:00,lt:2021-01-01", ""],
      ["updated_at=lt:2020-01-01T00:00:00", ""],
    ];
    for (const [query, expected] of cases) assert.equal(await list(query), expected, query);
    assert.equal(await list("name~=B", 30), "aba");
    assert.equal(await list("bootable=maybe", 1), "a");
  });

  it("counts what is on all pages, from 3.45 on", async () => {
    await using world = await TestWorld.open();
    for (const name of "abc") await world.makeVolume({ name });
    assert.equal((await world.expect(200, "GET", "/volumes?limit=1&with_count=True")).count, 3);
    assert.equal((await world.expect(200, "GET", "/volumes/detail?limit=1&with_count=1&name=a")).count, 1);
    assert.equal((await world.expect(200, "GET", "/volumes?limit=1")).count, undefined);
    assert.equal((await world.expect(200, "GET", "/volumes?with_count=1", { minor: 30 })).count, undefined);
  });

  for (const [query, status, message] of [
    ["limit=many", 400, /^limit param must be an integer$/],
    ["limit=-1", 400, /^limit param must be positive$/],
    ["offset=-1", 400, /^offset param must be positive$/],
    ["sort=colour", 400, /^Invalid input received: Sort key "colour" is not one of/],
    ["sort=__proto__", 400, /Sort key/],
    ["sort=name:up", 400, /Unknown sort direction "up"/],
    ["sort=name&sort_key=size", 400, /cannot be used with/],
    ["marker=7d3f1f7c-26a8-4a8f-8f4e-3b3f8d0a8d11", 404, /^Volume 7d3f1f7c-26a8-4a8f-8f4e-3b3f8d0a8d11 could not be found\.$/],
    ["colour=red", 400, /^Invalid filters colour are found in query options\.$/],
    ["bootable=maybe", 400, /neither true nor false/],
    ["metadata=red", 400, /must be a dictionary/],
    ["created_at=gt:yesterday", 400, /Invalid filter created_at/],
    ["size=big", 400, /^size param must be an integer$/],
  ] as const) {
    it(`refuses ?${query}`, async () => {
      await using world = await TestWorld.open();
      assert.match(await world.refusal(status, "GET", `/volumes?${query}`), message);
    });
  }

  it("ignores unknown filters before 3.31", async () => {
    await using world = await TestWorld.open();
    await world.expect(200, "GET", "/volumes?colour=red", { minor: 30 });
  });
});

describe("GET /volumes/detail by microversion", () => {
  const FIELDS: readonly [field: string, since: number, forAdmins?: boolean][] = [
    ["id", 0],
    ["attachments", 0],
    ["os-vol-tenant-attr:tenant_id", 0],
    ["migration_status", 0, true],
    ["os-vol-host-attr:host", 0, true],
    ["os-vol-mig-status-attr:migstat", 0, true],
    ["os-vol-mig-status-attr:name_id", 0, true],
    ["group_id", 13],
    ["provider_id", 21, true],
    ["shared_targets", 48],
    ["service_uuid", 48],
    ["cluster_name", 61, true],
    ["volume_type_id", 63],
    ["consumes_quota", 65],
  ];
  it("has each field from its microversion on, and those about the storage only for admins", async () => {
    await using world = await TestWorld.open();
    await world.makeVolume({ name: "a" });
    for (const [field, since, forAdmins = false] of FIELDS) {
      for (const minor of new Set([0, Math.max(0, since - 1), since, 71])) {
        for (const as of [world.alice, world.admin]) {
          const { volumes } = await world.expect(200, "GET", "/volumes/detail?all_tenants=1", { as, minor });
          const expected = minor >= since && (!forAdmins || as === world.admin);
          assert.equal(field in volumes[0], expected, `${field} in 3.${minor} ${as === world.admin ? "for admins" : ""}`);
        }
      }
    }
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolFromArguments } from "./pool-arguments.ts";

const parse = (...args: string[]) => poolFromArguments(args, { cwd: "/here", readFile: (path) => FILES[path] ?? assert.fail(path) });

const FILES: Record<string, string> = {
  "/here/fast.json": '{ "name": "fast", "path": "disks", "roles": ["volumes"] }',
  "/etc/list.json": "[]",
  "/etc/broken.json": "{",
};

describe("poolFromArguments()", () => {
  it("reads keys and values by the option's type", () => {
    assert.deepEqual(parse("name=fast", "path=disks", "roles=volumes, cache", "overSubscriptionRatioMax=1.5", "cloneDepthMax=3", "filterFunction=volume.size == 5"), {
      name: "fast",
      path: "/here/disks",
      roles: ["volumes", "cache"],
      overSubscriptionRatioMax: 1.5,
      cloneDepthMax: 3,
      filterFunction: "volume.size == 5",
    });
  });

  it("reads options of a driver's section", () => {
    assert.deepEqual(parse("name=c", "driver=rbd", "rbd.pool=volumes", "rbd.confPath=ceph.conf"), { name: "c", driver: "rbd", rbd: { pool: "volumes", confPath: "/here/ceph.conf" } });
  });

  it("reads a file, with paths from where it lies", () => {
    assert.deepEqual(parse("fast.json"), { name: "fast", path: "/here/disks", roles: ["volumes"] });
  });

  it("leaves what is no number to be refused by Mica", () => {
    assert.deepEqual(parse("name=x", "cloneDepthMax=many"), { name: "x", cloneDepthMax: "many" });
  });

  const WRONG: readonly [string[], RegExp][] = [
    [["name=x", "loud"], /"loud" is not KEY=VALUE/],
    [["drivr=file"], /A pool has no "drivr"\. There are name, driver, path, roles, .* like rbd\.pool\.$/],
    [["rbd.color=red"], /A pool has no "rbd\.color"\. There are rbd\.confPath, rbd\.pool, /],
    [["/etc/list.json"], /is not one pool/],
    [["/etc/broken.json"], /cannot be read as a pool/],
  ];
  for (const [args, words] of WRONG) it(`refuses ${args.join(" ")}`, () => assert.throws(() => parse(...args), words));
});

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { Exports } from "#/app/worker/exports.ts";
import { poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { dense, newDisk, packed, put, putNew } from "#/storage/contract/bench.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { Pools } from "#/storage/pools.ts";
import { POOL_LIMITS } from "../../../test/support/pool-limits.ts";

const root = await mkdtemp(join(tmpdir(), "mica-exports-"));
after(() => rm(root, { recursive: true }));
const pool = new Pool({ name: poolName("fast"), roles: ["volumes"], driver: await FileDriver.open(root), limits: POOL_LIMITS });
const exports = new Exports(new Pools([pool]));

describe("Exports", () => {
  it("shows a raw disk as a guest sees it, through all that it stands on", async () => {
    const [disk, clone] = [await putNew(pool, dense(MiB, 1)), newDisk(MiB)];
    await pool.clone(disk, clone);
    assert.deepEqual(await exports.find(`fast/${disk.id}/raw/read`), { node: await pool.open(disk, "read"), mode: "read" });
    assert.deepEqual(await exports.find(`fast/${clone.id}/raw/write`), { node: await pool.open(clone, "write"), mode: "write" });
  });

  it("shows the stored bytes of another format: no reader of it runs here", async () => {
    const disk = newDisk(MiB, "qcow2");
    await put(pool, disk, await packed(dense(MiB, 1)));
    const filename = join(root, `${disk.id}.disk`);
    assert.deepEqual(await exports.find(`fast/${disk.id}/qcow2/read`), { node: { driver: "raw", file: { driver: "file", filename } }, mode: "read" });
  });

  it("knows a disk that is being filled for as long as it is, by a name that cannot be guessed", async () => {
    const disk = newDisk(MiB);
    const node = { driver: "file", filename: "/dev/null" } as const;
    const shown = exports.showFilling(pool, disk, node);
    assert.deepEqual(await exports.find(shown.name), { node, mode: "write", cache: "writeback" });
    assert.equal(await exports.find(`${shown.disk}/write`), undefined);
    shown[Symbol.dispose]();
    assert.equal(await exports.find(shown.name), undefined);
  });

  it("knows nothing by any other name", async () => {
    const { id } = await putNew(pool, dense(MiB, 1));
    const names = ["", id, `fast/${id}`, `fast/${id}/raw`, `fast/${id}/raw/append`, `fast/${id}/tar/read`, `slow/${id}/raw/read`, `fast/${newDisk(1).id}/raw/read`];
    const hostile = [`fast/../${id}/raw/read`, `fast/${id}/raw/read\n`, ` fast/${id}/raw/read`, `fast//etc/passwd/raw/read`, `fast/${id.toUpperCase()}/raw/read`];
    for (const name of [...names, ...hostile]) assert.equal(await exports.find(name), undefined, name);
  });
});

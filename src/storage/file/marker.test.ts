import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { claimFolder } from "#/storage/file/marker.ts";

const root = await mkdtemp(join(tmpdir(), "mica-marker-"));
after(() => rm(root, { recursive: true }));
const folder = (): string => join(root, randomUUID());

describe("claimFolder()", () => {
  it("makes the folder of a new pool, and knows it again", async () => {
    const path = folder();
    await claimFolder(path, { pool: "fast", isNew: true });
    await claimFolder(path, { pool: "fast", isNew: false });
    assert.deepEqual(await readdir(path), [".mica-pool"]);
  });

  it("makes the folders above it too, and says where it cannot", async () => {
    const path = join(folder(), "deep", "er");
    await claimFolder(path, { pool: "fast", isNew: true });
    assert.deepEqual(await readdir(path), [".mica-pool"]);
    await assert.rejects(claimFolder("/proc/nowhere/at/all", { pool: "fast", isNew: true }), { code: "pool_unavailable", message: /ENOENT/ });
    await assert.rejects(claimFolder(join(path, ".mica-pool", "x"), { pool: "fast", isNew: true }), { code: "pool_unavailable", message: /ENOTDIR/ });
  });

  it("does not take an empty folder for one that holds disks", async () => {
    const path = await mkdtemp(join(root, "empty-"));
    await assert.rejects(claimFolder(path, { pool: "fast", isNew: false }), { code: "pool_unavailable", message: /it is empty. Something is not mounted/ });
    assert.deepEqual(await readdir(path), []);
    await assert.rejects(claimFolder(folder(), { pool: "fast", isNew: false }), { code: "pool_unavailable", message: /ENOENT/ });
  });

  it("does not take another pool's folder", async () => {
    const path = folder();
    await claimFolder(path, { pool: "fast", isNew: true });
    for (const isNew of [true, false]) {
      await assert.rejects(claimFolder(path, { pool: "slow", isNew }), { code: "pool_unavailable", message: /belongs to pool "fast"/ });
    }
  });

  it("takes a folder with disks that is older than the marker", async () => {
    const path = await mkdtemp(join(root, "old-"));
    await writeFile(join(path, `${randomUUID()}.disk`), "");
    await claimFolder(path, { pool: "fast", isNew: false });
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Disk, HolderKind } from "#/domain/disk.ts";
import { poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { dense, newDisk, put } from "#/storage/contract/bench.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { POOL_LIMITS } from "../../test/support/pool-limits.ts";
import { FrozenStats } from "./frozen-stats.ts";

class CountingDriver extends MemoryDriver {
  looks = 0;

  override async stat(...args: Parameters<MemoryDriver["stat"]>) {
    this.looks += 1;
    return super.stat(...args);
  }
}

async function withDisk(kind: HolderKind) {
  const driver = new CountingDriver();
  const pool = new Pool({ name: poolName("fast"), roles: ["images"], driver, limits: POOL_LIMITS });
  const made = newDisk(MiB);
  await put(driver, made, dense(MiB, 1));
  const disk: Disk = { ...made, pool: pool.name, holder: { kind, id: made.id }, state: "ready" };
  return { driver, pool, disk };
}

describe("FrozenStats", () => {
  it("looks once at what never changes", async () => {
    for (const kind of ["image", "snapshot", "cache", "ancestor"] as const) {
      const { driver, pool, disk } = await withDisk(kind);
      const stats = new FrozenStats();
      const [first, second] = [await stats.stat(pool, disk), await stats.stat(pool, disk)];
      assert.deepEqual([first?.sizeBytes, second, driver.looks], [MiB, first, 1]);
    }
  });

  it("looks each time at a volume, and at bytes that others registered", async () => {
    const volume = await withDisk("volume");
    const stats = new FrozenStats();
    for (let look = 0; look < 2; look++) await stats.stat(volume.pool, volume.disk);
    assert.equal(volume.driver.looks, 2);
    const image = await withDisk("image");
    const registered = { ...image.disk, location: image.pool.locate(image.disk) };
    for (let look = 0; look < 2; look++) await stats.stat(image.pool, registered);
    assert.equal(image.driver.looks, 2);
  });

  it("does not remember that nothing was there", async () => {
    const { driver, pool, disk } = await withDisk("image");
    const stats = new FrozenStats();
    await driver.delete(disk.id);
    assert.equal(await stats.stat(pool, disk), undefined);
    await put(driver, disk, dense(MiB, 1));
    assert.equal((await stats.stat(pool, disk))?.sizeBytes, MiB);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { dense, newDisk, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { Capabilities } from "#/storage/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { POOL_LIMITS } from "../../test/support/pool-limits.ts";


function openPool(driver: MemoryDriver = new MemoryDriver()): Pool {
  return new Pool({ name: poolName("fast"), roles: ["volumes"], driver, limits: POOL_LIMITS });
}

storageDriverContract("Pool", async () => openPool());

describe("Pool", () => {
  it("says what it was doing, where, and why it failed", async () => {
    const pool = openPool();
    const [source, target] = [newDisk(MiB), newDisk(MiB)];
    await assert.rejects(pool.clone(source, target), {
      code: "disk_not_found",
      message: `Cannot clone disk ${source.id} as ${target.id} in pool "fast": there is no disk ${source.id}`,
    });
  });

  it("refuses what its driver cannot do, with the driver's reason", async () => {
    class Plain extends MemoryDriver {
      override readonly can: Capabilities = {
        clone: "none",
        snapshot: false,
        offloadCopy: false,
        addressable: "none",
        mutable: false,
        sparse: true,
        place: "tape",
        why: { clone: "the disks are on tape" },
      };
    }
    const pool = openPool(new Plain());
    const [source, target] = [await putNew(pool, dense(MiB, 1)), newDisk(MiB)];
    await assert.rejects(pool.clone(source, target), { code: "not_supported", message: /: the disks are on tape$/ });
    await rejectsWith("not_supported", () => pool.create(target));
    await rejectsWith("not_supported", () => pool.resize(source, 2 * MiB));
    await rejectsWith("not_supported", () => pool.snapshot(source, target));
    await rejectsWith("not_supported", () => pool.copy(source, target));
    await rejectsWith("not_supported", () => pool.fill(target, async () => {}));
    await rejectsWith("not_supported", () => pool.open(source, "read"));
  });

  it("does not accept sizes, ranges and ids that no caller of ours should give", async () => {
    const pool = openPool();
    const disk = await putNew(pool, dense(MiB, 1));
    for (const virtualSizeBytes of [-1, 1.5, Number.NaN, 2 ** 60]) {
      await assert.rejects(pool.create({ ...disk, virtualSizeBytes }), /Broken invariant/);
      await assert.rejects(pool.resize(disk, virtualSizeBytes), /Broken invariant/);
    }
    await assert.rejects(pool.create({ ...disk, id: "../etc" as typeof disk.id }), /Broken invariant/);
    await assert.rejects(pool.clone(disk, newDisk(1)), /Broken invariant/);
    await assert.rejects(Array.fromAsync(pool.read(disk, { start: 2, end: 1 })), /Broken invariant/);
  });

  it("does not delete a disk under another call, but under a reader", async () => {
    const pool = openPool();
    const disk = newDisk(MiB);
    const writer = await pool.receive(disk);
    await rejectsWith("conflict", () => pool.delete(disk.id));
    await writer.write(dense(MiB, 1), 0);
    await writer.finish(MiB);
    for await (const _ of pool.read(disk, { start: 0, end: MiB })) await pool.delete(disk.id);
    assert.equal(await pool.stat(disk.id), undefined);
    await (await pool.receive(disk)).abort();
    await pool.delete(disk.id);
  });

  it("counts calls and the bytes that passed through", async () => {
    const pool = openPool();
    const disk = await putNew(pool, dense(MiB, 1));
    for await (const _ of pool.read(disk, { start: 0, end: 1000 }));
    await assert.rejects(pool.clone(newDisk(MiB), newDisk(MiB)));
    assert.deepEqual([pool.metrics.bytesWritten, pool.metrics.bytesRead], [MiB, 1000]);
    const { done, failed } = pool.metrics.calls.get("clone") ?? {};
    assert.deepEqual([done, failed], [0, 1]);
  });
});

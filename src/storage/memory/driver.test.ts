import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { neighboursContract } from "#/storage/contract/neighbours.ts";
import { assertGone, dense, newDisk, put, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";

storageDriverContract("MemoryDriver", async () => new MemoryDriver());
storageDriverContract("MemoryDriver with dependent clones", async () => new MemoryDriver({ clone: "dependent" }));
for (const clone of ["independent", "dependent"] as const) {
  neighboursContract(`MemoryDriver with ${clone} clones`, async () => {
    const from = new MemoryDriver({ clone });
    const to = new MemoryDriver({ beside: from });
    return { from, to, [Symbol.asyncDispose]: async () => void (await Promise.all([from, to].map((pool) => pool[Symbol.asyncDispose]()))) };
  });
}

describe("MemoryDriver", () => {
  it("counts every byte: what was freed can be used again, and shared chunks count once", async () => {
    const driver = new MemoryDriver({ capacityBytes: 10 * MiB });
    const free = async () => (await driver.capacity()).freeBytes;
    const a = await putNew(driver, dense(4 * MiB, 1));
    const [b, c] = [newDisk(8 * MiB), newDisk(4 * MiB)];
    await driver.clone(a, b);
    assert.equal(await free(), 6 * MiB);
    await driver.copy(a, c);
    assert.equal(await free(), 2 * MiB);
    await driver.delete(a.id);
    assert.equal(await free(), 2 * MiB);
    for (const { id } of [b, c]) await driver.delete(id);
    assert.equal(await free(), 10 * MiB);
  });

  it("says pool_full in the middle, and leaves nothing", async () => {
    for (const clone of ["independent", "dependent"] as const) {
      const driver = new MemoryDriver({ capacityBytes: MiB, clone });
      const tooLarge = newDisk(2 * MiB);
      const writer = await driver.receive(tooLarge);
      await writer.write(dense(512 * KiB, 1), 0);
      await rejectsWith("pool_full", () => writer.write(dense(MiB, 1), 512 * KiB));
      await writer.abort();
      await assertGone(driver, tooLarge.id);
      const [source, target] = [await putNew(driver, dense(768 * KiB, 1)), newDisk(MiB)];
      await rejectsWith("pool_full", () => driver.copy(source, target));
      await assertGone(driver, target.id);
      await driver.clone(source, target);
      if (clone === "dependent") await rejectsWith("pool_full", () => driver.flatten(target));
      assert.equal((await driver.capacity()).freeBytes, 256 * KiB);
    }
  });

  it("deletes partial work, such as a dead operation leaves", async () => {
    const driver = new MemoryDriver({ capacityBytes: MiB });
    const disk = newDisk(MiB);
    const deserted = await driver.receive(disk);
    await deserted.write(dense(64 * KiB, 1), 0);
    await driver.delete(disk.id);
    await assertGone(driver, disk.id);
    await rejectsWith("cancelled", () => deserted.write(dense(64 * KiB, 1), 0));
    assert.equal((await driver.capacity()).freeBytes, MiB);
  });

  it("holds a blank disk of any size for nothing", async () => {
    const driver = new MemoryDriver({ capacityBytes: MiB });
    await driver.create(newDisk(100 * GiB));
    assert.equal((await driver.capacity()).freeBytes, MiB);
  });

  it("shows what a wrong order of deletes would do: a dependent clone cannot be read without its parent", async () => {
    const driver = new MemoryDriver({ clone: "dependent" });
    const [source, target] = [newDisk(MiB), newDisk(MiB)];
    await put(driver, source, dense(MiB, 1));
    await driver.clone(source, target);
    await driver.delete(source.id);
    await rejectsWith("disk_not_found", async () => {
      for await (const _ of driver.read(target, { start: 0, end: 1 }));
    });
  });
});

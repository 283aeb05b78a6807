import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import { dense, newDisk, put, putNew } from "#/storage/contract/bench.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { LimitedDriver, Limits } from "#/storage/wrap/limited.ts";
import { convert } from "#/transfer/convert.ts";

const root = await mkdtemp(join(tmpdir(), "mica-limited-"));
after(() => rm(root, { recursive: true }));

/** Its disks can be filled in place by whoever the test says. */
class Writable extends MemoryDriver {
  override async fill(_?: unknown, fill?: (node: BlockNode) => Promise<void>): Promise<void> {
    await fill?.({ driver: "file", filename: "/dev/null" });
  }
}

const limited = (driver: StorageDriver, bytesPerSecondMax: number, concurrencyMax = 4) => new LimitedDriver(driver, new Limits({ concurrencyMax, bytesPerSecondMax }));

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return (performance.now() - startedMs) / SECOND_MS;
}

describe("the bandwidth of a pool", () => {
  it("holds for all conversions of qemu-img together", async () => {
    const pool = limited(await FileDriver.open(await mkdtemp(join(root, "pool-"))), 8 * MiB);
    const source = { pool: await FileDriver.open(await mkdtemp(join(root, "source-"))), disk: newDisk(7 * MiB) };
    await put(source.pool, source.disk, dense(7 * MiB, 1));
    // Each of two gets 7 MiB/s, one after the other, less what QEMU lets through at first; at once they would take a second less.
    const took = await seconds(() => Promise.all([0, 1].map(() => convert({ source, target: { pool, disk: newDisk(7 * MiB) } }))));
    assert.ok(took > 1.3, `14 MiB at 7 MiB/s took ${took} s`);
  });

  it("holds for copies by qemu-img inside the pool", async () => {
    const pool = limited(await FileDriver.open(await mkdtemp(join(root, "pool-"))), 8 * MiB);
    if (pool.can.clone !== "dependent") return;
    const [source, clone] = [newDisk(7 * MiB), newDisk(7 * MiB)];
    await put(pool, source, dense(7 * MiB, 1));
    await pool.clone(source, clone);
    const took = await seconds(() => pool.flatten(clone));
    assert.ok(took > 0.5, `7 MiB at 7 MiB/s took ${took} s`);
  });

  it("leaves an eighth to bytes that pass through us while a program is at work, and all of it afterwards", async () => {
    const pool = limited(new Writable(), 16 * MiB);
    const disk = await putNew(pool, dense(MiB, 1));
    const read = () => Array.fromAsync(pool.read(disk, { start: 0, end: MiB }));
    const told: (number | undefined)[] = [];
    const during = await seconds(() =>
      pool.fill(newDisk(MiB), async (_, bytesPerSecondMax) => {
        told.push(bytesPerSecondMax);
        await read();
      }),
    );
    const afterwards = await seconds(read);
    assert.deepEqual(told, [14 * MiB]);
    assert.ok(during > 0.4, `1 MiB at 2 MiB/s took ${during} s`);
    assert.ok(afterwards < during / 2, `${afterwards} s afterwards, ${during} s before`);
  });

  it("lets one program in at a time, and waits for no other where there is no limit", async () => {
    for (const [bytesPerSecondMax, expected] of [
      [MiB, 1],
      [0, 3],
    ] as const) {
      const pool = limited(new Writable(), bytesPerSecondMax);
      let [inside, most] = [0, 0];
      const work = async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 10));
        inside -= 1;
      };
      await Promise.all([0, 1, 2].map(() => pool.fill(newDisk(MiB), work)));
      assert.equal(most, expected);
    }
  });

  it("does not come to a stop between its two kinds of turns", async () => {
    const pool = limited(new Writable(), 64 * MiB, 1);
    const source = await putNew(pool, dense(MiB, 1));
    const filling = () => pool.fill(newDisk(MiB), () => new Promise((resolve) => setTimeout(resolve, 5)));
    await Promise.all([filling(), pool.copy(source, newDisk(MiB)), filling(), pool.flatten(source), pool.copy(source, newDisk(MiB))]);
  });
});

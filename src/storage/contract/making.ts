import assert from "node:assert/strict";
import { it } from "node:test";
import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";

/** create(), receive(), stat(), list() and delete(). */
export function contractOfMaking(openDriver: bench.OpenDriver): void {
  it("capacity() tells of a place with room", async () => {
    await using driver = await openDriver();
    const { totalBytes, freeBytes } = await driver.capacity();
    assert.ok(freeBytes > 0 && freeBytes <= totalBytes && Number.isSafeInteger(totalBytes));
  });

  it("create() and resize() are refused where disks come whole and never change", async () => {
    await using driver = await openDriver();
    if (driver.can.mutable) return;
    assert.ok(driver.can.why.mutable);
    const [blank, bytes] = [bench.newDisk(MiB), bench.dense(5000, 1)];
    await bench.rejectsWith("not_supported", () => driver.create(blank));
    await bench.assertGone(driver, blank.id);
    const disk = await bench.putNew(driver, bytes);
    await bench.rejectsWith("not_supported", () => driver.resize(disk, MiB));
    await bench.assertContent(driver, disk, bytes);
  });

  it("create() makes a disk of any size that reads as zeroes", async () => {
    await using driver = await openDriver();
    if (!driver.can.mutable) return;
    await bench.forOddSizes(async (sizeBytes) => {
      const disk = bench.newDisk(sizeBytes);
      await driver.create(disk);
      await bench.assertContent(driver, disk, new Uint8Array(sizeBytes));
    });
  });

  it("create() takes nearly no space where holes take none", async () => {
    await using driver = await openDriver();
    if (!driver.can.sparse || !driver.can.mutable) return;
    const disk = bench.newDisk(100 * GiB);
    await driver.create(disk);
    const stored = await driver.stat(disk.id);
    assert.equal(stored?.sizeBytes, 100 * GiB);
    assert.ok(stored.allocatedBytes <= MiB);
  });

  it("create() may be repeated and keeps what was written", async () => {
    await using driver = await openDriver();
    if (!driver.can.mutable) return;
    const disk = bench.newDisk(MiB);
    await driver.create(disk);
    const after = await bench.scribble(driver, disk, new Uint8Array(MiB), 7);
    await driver.create(disk);
    await bench.assertContent(driver, disk, after);
  });

  it("create() leaves nothing when it is cancelled", async () => {
    await using driver = await openDriver();
    if (!driver.can.mutable) return;
    const disk = bench.newDisk(MiB);
    await bench.rejectsWith("cancelled", () => driver.create(disk, bench.cancelled));
    await bench.assertGone(driver, disk.id);
  });

  it("receive() stores content of any size, and shows nothing of it before it is whole", async () => {
    await using driver = await openDriver();
    await bench.forOddSizes(async (sizeBytes, i) => {
      const bytes = bench.content(sizeBytes, i);
      await bench.assertContent(driver, await bench.putNew(driver, bytes), bytes);
    });
    const unfinished = bench.newDisk(MiB);
    const writer = await driver.receive(unfinished);
    await writer.write(page(1), 0);
    assert.equal(await driver.stat(unfinished.id), undefined);
    await writer.abort();
  });

  it("receive() keeps the bytes of other formats as they are", async () => {
    await using driver = await openDriver();
    const bytes = bench.dense(100_001, 3);
    for (const format of ["qcow2", "vmdk", "opaque"] as const) {
      const disk = bench.newDisk(10 * GiB, format);
      await bench.put(driver, disk, bytes);
      await bench.assertContent(driver, disk, bytes);
    }
  });

  it("receive() takes several blocks at once, in any order", async () => {
    await using driver = await openDriver();
    const bytes = bench.dense(2 * MiB + 100, 5);
    const disk = bench.newDisk(bytes.length);
    const writer = await driver.receive(disk);
    const blocks = alignedBlocks(writer.concurrency, 64 * KiB);
    const starts = Array.from({ length: Math.ceil(bytes.length / (64 * KiB)) }, (_, i) => i * 64 * KiB).reverse();
    while (starts.length > 0) {
      await Promise.all(
        blocks.map(async (block) => {
          const start = starts.shift();
          if (start === undefined) return;
          const part = bytes.subarray(start, start + 64 * KiB);
          block.set(part);
          await writer.write(block.subarray(0, part.length), start);
        }),
      );
    }
    await writer.finish(bytes.length);
    await bench.assertContent(driver, disk, bytes);
  });

  it("receive() makes the disk as long as finish() says", async () => {
    await using driver = await openDriver();
    const disk = bench.newDisk(MiB);
    const writer = await driver.receive(disk);
    await writer.write(page(9), 0);
    await writer.finish(MiB);
    await bench.assertContent(driver, disk, bench.padded(page(9), MiB));
  });

  it("receive() leaves zeroes out where holes take no space", async () => {
    await using driver = await openDriver();
    if (!driver.can.sparse) return;
    const bytes = bench.padded(bench.dense(128 * KiB, 1), 8 * MiB);
    bytes.set(bench.dense(64 * KiB, 2), 4 * MiB);
    const disk = await bench.putNew(driver, bytes);
    const allocatedBytes = (await driver.stat(disk.id))?.allocatedBytes ?? 0;
    assert.ok(allocatedBytes >= 192 * KiB && allocatedBytes <= MiB, `${allocatedBytes} bytes are allocated`);
    await bench.assertContent(driver, disk, bytes);
  });

  it("receive() leaves nothing after abort()", async () => {
    await using driver = await openDriver();
    const disk = bench.newDisk(MiB);
    const writer = await driver.receive(disk);
    await writer.write(page(1), 0);
    await writer.abort();
    await bench.assertGone(driver, disk.id);
  });

  it("receive() ends soon when it is cancelled, and leaves nothing", async () => {
    await using driver = await openDriver();
    for (const ending of ["abort", "finish"] as const) {
      const disk = bench.newDisk(MiB);
      const stop = new AbortController();
      const writer = await driver.receive(disk, { signal: stop.signal });
      await writer.write(page(1), 0);
      stop.abort();
      await bench.rejectsWith("cancelled", () => writer.write(page(2), 4 * KiB));
      if (ending === "abort") await writer.abort();
      else await bench.rejectsWith("cancelled", () => writer.finish(8 * KiB));
      await bench.assertGone(driver, disk.id);
    }
    const never = bench.newDisk(MiB);
    await bench.rejectsWith("cancelled", () => driver.receive(never, bench.cancelled));
    await bench.assertGone(driver, never.id);
  });

  it("receive() begins anew after a crash: nothing of the earlier attempt comes through", async () => {
    await using driver = await openDriver();
    const disk = bench.newDisk(MiB);
    const deserted = await driver.receive(disk);
    await deserted.write(page(1), 512 * KiB);
    const bytes = bench.padded(bench.dense(4 * KiB, 2), MiB);
    await bench.put(driver, disk, bytes);
    await bench.assertContent(driver, disk, bytes);
    await deserted.abort(); // Too late to do harm.
    await bench.assertContent(driver, disk, bytes);
  });

  it("receive() may be repeated after it was done", async () => {
    await using driver = await openDriver();
    const disk = await bench.putNew(driver, bench.dense(MiB, 1));
    await bench.put(driver, disk, bench.dense(MiB, 2));
    await bench.assertContent(driver, disk, bench.dense(MiB, 2));
  });

  it("stat() knows nothing of a disk that is not there", async () => {
    await using driver = await openDriver();
    assert.equal(await driver.stat(bench.newDisk(1).id), undefined);
  });

  it("list() shows every disk once, and partial work as such", async () => {
    await using driver = await openDriver();
    const whole = await bench.putNew(driver, bench.dense(5000, 1));
    const partial = bench.newDisk(MiB);
    const writer = await driver.receive(partial);
    await writer.write(page(1), 0);
    const disks = new Map((await bench.listed(driver)).map((disk) => [disk.id, disk]));
    assert.equal(disks.size, 2);
    const listedBytes = disks.get(whole.id)?.sizeBytes ?? 0;
    assert.ok(listedBytes >= 5000 && listedBytes <= 5120, "some storages count in sectors");
    assert.ok(!disks.get(whole.id)?.partial);
    assert.equal(disks.get(partial.id)?.partial, true);
    await writer.abort();
  });

  it("list() of an empty pool is empty", async () => {
    await using driver = await openDriver();
    assert.deepEqual(await bench.listed(driver), []);
  });

  it("delete() removes a disk, and may be repeated", async () => {
    await using driver = await openDriver();
    const disk = await bench.putNew(driver, bench.dense(5000, 1));
    await driver.delete(disk.id);
    await driver.delete(disk.id);
    await bench.assertGone(driver, disk.id);
  });
}

/** A page-aligned block of 4 KiB. */
function page(byte: number): Uint8Array {
  const [block] = alignedBlocks(1, 4 * KiB);
  assert.ok(block);
  return block.fill(byte);
}

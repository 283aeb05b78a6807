import assert from "node:assert/strict";
import { it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";

/** read(), resize(), copy(). */
export function contractOfReading(openDriver: bench.OpenDriver): void {
  it("read() gives any range, in order", async () => {
    await using driver = await openDriver();
    const bytes = bench.content(3 * MiB + 11, 4);
    const disk = await bench.putNew(driver, bytes);
    const edges = [0, 1, 4095, 4096, 65_536, 256 * KiB + 1, MiB + 5, bytes.length - 1, bytes.length];
    const ranges = edges.flatMap((start) => edges.filter((end) => end >= start).map((end) => ({ start, end }))).values();
    await bench.together(4, async () => {
      for (const range of ranges) {
        const part = await bench.get(driver, disk, range);
        assert.ok(Buffer.compare(part, bytes.subarray(range.start, range.end)) === 0, `bytes ${range.start} to ${range.end} are the same`);
      }
    });
  });

  it("read() serves several readers at once", async () => {
    await using driver = await openDriver();
    const bytes = bench.content(2 * MiB, 6);
    const disk = await bench.putNew(driver, bytes);
    await Promise.all(Array.from({ length: 5 }, () => bench.assertContent(driver, disk, bytes)));
  });

  it("read() lets its reader leave early", async () => {
    await using driver = await openDriver();
    const bytes = bench.dense(2 * MiB, 6);
    const disk = await bench.putNew(driver, bytes);
    for await (const part of driver.read(disk, { start: 0, end: bytes.length })) {
      assert.ok(part.length > 0);
      break;
    }
    await driver.delete(disk.id);
    await bench.assertGone(driver, disk.id);
  });

  it("read() ends soon when it is cancelled", async () => {
    await using driver = await openDriver();
    const disk = await bench.putNew(driver, bench.dense(4 * MiB, 6));
    const stop = new AbortController();
    await bench.rejectsWith("cancelled", async () => {
      for await (const _ of driver.read(disk, { start: 0, end: 4 * MiB }, { signal: stop.signal })) stop.abort();
    });
  });

  it("read() says disk_not_found for what is not there", async () => {
    await using driver = await openDriver();
    const disk = await bench.putNew(driver, bench.dense(5000, 6));
    await bench.rejectsWith("disk_not_found", () => bench.get(driver, bench.newDisk(MiB), { start: 0, end: 1 }));
    await bench.rejectsWith("disk_not_found", () => bench.get(driver, disk, { start: 4000, end: 5001 }));
  });

  it("resize() makes a disk larger; the new end reads as zeroes", async () => {
    await using driver = await openDriver();
    if (!driver.can.mutable) return;
    const bytes = bench.dense(MiB + 1, 1);
    const disk = await bench.putNew(driver, bytes);
    await driver.resize(disk, 3 * MiB + 5);
    await bench.assertContent(driver, disk, bench.padded(bytes, 3 * MiB + 5));
  });

  it("resize() may be repeated, and never makes a disk smaller", async () => {
    await using driver = await openDriver();
    if (!driver.can.mutable) return;
    const bytes = bench.dense(MiB, 1);
    const disk = await bench.putNew(driver, bytes);
    await driver.resize(disk, 2 * MiB);
    await driver.resize(disk, 2 * MiB);
    await driver.resize(disk, 512 * KiB);
    await bench.assertContent(driver, disk, bench.padded(bytes, 2 * MiB));
  });

  it("resize() changes nothing when it fails", async () => {
    await using driver = await openDriver();
    if (!driver.can.mutable) return;
    const bytes = bench.dense(MiB, 1);
    const disk = await bench.putNew(driver, bytes);
    await bench.rejectsWith("cancelled", () => driver.resize(disk, 2 * MiB, bench.cancelled));
    await bench.assertContent(driver, disk, bytes);
    const missing = bench.newDisk(MiB);
    await bench.rejectsWith("disk_not_found", () => driver.resize(missing, 2 * MiB));
    await bench.assertGone(driver, missing.id);
  });

  it("copy() makes a disk of its own, of any size", async () => {
    await using driver = await openDriver();
    if (!driver.can.offloadCopy) return await refusesToCopy(driver);
    await bench.forOddSizes(async (sizeBytes, i) => {
      const bytes = bench.content(sizeBytes, i);
      const source = await bench.putNew(driver, bytes);
      const target = bench.newDisk(sizeBytes);
      await driver.copy(source, target);
      await driver.copy(source, target);
      if (sizeBytes > 0) await bench.scribble(driver, source, bytes, 77);
      await driver.delete(source.id);
      await bench.assertContent(driver, target, bytes);
      assert.equal((await driver.stat(target.id))?.parent, undefined);
    });
  });

  it("copy() makes a larger raw disk, and other formats byte for byte", async () => {
    await using driver = await openDriver();
    if (!driver.can.offloadCopy) return;
    const bytes = bench.dense(100_001, 2);
    const [larger, sameBytes] = [bench.newDisk(MiB), bench.newDisk(MiB, "qcow2")];
    await driver.copy(await bench.putNew(driver, bytes), larger);
    await bench.assertContent(driver, larger, bench.padded(bytes, MiB));
    const source = bench.newDisk(MiB, "qcow2");
    await bench.put(driver, source, bytes);
    await driver.copy(source, sameBytes);
    await bench.assertContent(driver, sameBytes, bytes);
  });

  it("copy() keeps holes where they take no space", async () => {
    await using driver = await openDriver();
    if (!driver.can.offloadCopy || !driver.can.sparse) return;
    const source = await bench.putNew(driver, bench.padded(bench.dense(64 * KiB, 1), 16 * MiB));
    const target = bench.newDisk(16 * MiB);
    await driver.copy(source, target);
    assert.ok(((await driver.stat(target.id))?.allocatedBytes ?? Infinity) <= MiB);
  });

  it("copy() leaves nothing when it fails", async () => {
    await using driver = await openDriver();
    if (!driver.can.offloadCopy) return;
    const bytes = bench.dense(4 * MiB, 2);
    const [source, target] = [await bench.putNew(driver, bytes), bench.newDisk(4 * MiB)];
    await bench.rejectsWith("disk_not_found", () => driver.copy(bench.newDisk(MiB), target));
    await bench.rejectsWith("cancelled", () => driver.copy(source, target, bench.cancelled));
    await bench.rejectsWith("cancelled", () => driver.copy(source, target, bench.cancelInTheMiddle()));
    await bench.assertGone(driver, target.id);
    await bench.assertContent(driver, source, bytes);
  });
}

async function refusesToCopy(driver: Awaited<ReturnType<bench.OpenDriver>>): Promise<void> {
  const source = await bench.putNew(driver, bench.dense(5000, 1));
  await bench.rejectsWith("not_supported", () => driver.copy(source, bench.newDisk(5000)));
}

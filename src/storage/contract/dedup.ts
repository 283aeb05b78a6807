import assert from "node:assert/strict";
import { it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import type { Deduped, StorageDriver } from "#/storage/driver.ts";

/** dedup() and measureSpace(): what disks hold alike is kept once, and no content changes. */
export function contractOfDedup(openDriver: bench.OpenDriver): void {
  it("dedup() and measureSpace() are refused where the storage cannot share blocks", async () => {
    await using driver = await openDriver();
    if (driver.can.dedup) return;
    for (const name of ["dedup", "measureSpace"] as const) {
      if (driver[name]) await bench.rejectsWith("not_supported", async () => driver[name]?.());
    }
  });

  it("dedup() shares what disks hold alike, says how much, and changes no content", async () => {
    await using driver = await openDriver();
    if (!driver.can.dedup) return;
    const bytes = bench.dense(8 * MiB, 1);
    const similar = bytes.slice().fill(7, 3 * MiB + 5, 3 * MiB + 6);
    const disks = [await bench.putNew(driver, bytes), await bench.putNew(driver, similar), await bench.putNew(driver, bytes)];
    const before = await measure(driver);
    assert.equal(before.sharedBytes, 0);
    const { bytesShared } = await dedup(driver);
    const after = await measure(driver);
    // One block of the second is its own, and a part of a block at each end of an extent may be.
    assert.ok(bytesShared >= 15 * MiB && bytesShared < 16 * MiB, `${bytesShared} bytes were shared`);
    assert.ok(before.physicalBytes - after.physicalBytes >= 15 * MiB, `${before.physicalBytes} bytes before, ${after.physicalBytes} after`);
    assert.equal(after.allocatedBytes, before.allocatedBytes);
    assert.ok(after.sharedBytes >= bytesShared);
    for (const [index, disk] of disks.entries()) await bench.assertContent(driver, disk, index === 1 ? similar : bytes);
  });

  it("dedup() finds nothing more the second time, nor between clones", async () => {
    await using driver = await openDriver();
    if (!driver.can.dedup) return;
    const source = await bench.putNew(driver, bench.dense(4 * MiB, 1));
    await bench.putNew(driver, bench.dense(4 * MiB, 1));
    await driver.clone(source, bench.newDisk(4 * MiB));
    assert.ok((await dedup(driver)).bytesShared > 3 * MiB);
    assert.equal((await dedup(driver)).bytesShared, 0);
  });

  it("dedup() leaves disks as free to change as before", async () => {
    await using driver = await openDriver();
    if (!driver.can.dedup) return;
    const bytes = bench.dense(2 * MiB, 1);
    const [one, other] = [await bench.putNew(driver, bytes), await bench.putNew(driver, bytes)];
    await dedup(driver);
    const after = await bench.scribble(driver, one, bytes, 9);
    await bench.assertContent(driver, one, after);
    await bench.assertContent(driver, other, bytes);
    await driver.delete(one.id);
    await bench.assertContent(driver, other, bytes);
  });

  it("dedup() and measureSpace() leave out disks that are holes, tiny or unfinished", async () => {
    await using driver = await openDriver();
    if (!driver.can.dedup) return;
    await driver.create(bench.newDisk(64 * MiB));
    for (const sizeBytes of [0, 1, 4 * KiB, 64 * KiB - 1]) await bench.putNew(driver, bench.dense(sizeBytes, 1));
    const writer = await driver.receive(bench.newDisk(MiB));
    assert.equal((await dedup(driver)).bytesShared, 0);
    assert.ok((await measure(driver)).allocatedBytes < MiB);
    await writer.abort();
  });

  it("dedup() can be cancelled, and says how far it is", async () => {
    await using driver = await openDriver();
    if (!driver.can.dedup) return;
    const disks = [await bench.putNew(driver, bench.dense(4 * MiB, 1)), await bench.putNew(driver, bench.dense(4 * MiB, 1))];
    await bench.rejectsWith("cancelled", async () => driver.dedup?.(bench.cancelled));
    await bench.rejectsWith("cancelled", async () => driver.dedup?.(bench.cancelInTheMiddle()));
    const fractions: number[] = [];
    await driver.dedup?.({ onProgress: (fraction) => void fractions.push(fraction) });
    assert.deepEqual(fractions, fractions.toSorted((a, b) => a - b));
    assert.ok(fractions.length > 0 && (fractions.at(-1) ?? 2) <= 1);
    for (const disk of disks) await bench.assertContent(driver, disk, bench.dense(4 * MiB, 1));
  });
}

async function dedup(driver: StorageDriver): Promise<Deduped> {
  const sum = { bytesRead: 0, bytesShared: 0 };
  const onDone = ({ bytesRead, bytesShared }: Deduped) => {
    sum.bytesRead += bytesRead;
    sum.bytesShared += bytesShared;
  };
  assert.ok(driver.dedup);
  await driver.dedup({ onDone });
  return sum;
}

async function measure(driver: StorageDriver) {
  assert.ok(driver.measureSpace);
  return driver.measureSpace();
}

import assert from "node:assert/strict";
import { it } from "node:test";
import { MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import type { StorageDriver } from "#/storage/driver.ts";

/** clone() and flatten(). */
export function contractOfCloning(openDriver: bench.OpenDriver): void {
  it("clone() makes a disk of the same content, of any size", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return await refusesToClone(driver);
    await bench.forOddSizes(async (sizeBytes, i) => {
      const bytes = bench.content(sizeBytes, i);
      const target = bench.newDisk(sizeBytes);
      await driver.clone(await bench.putNew(driver, bytes), target);
      await bench.assertContent(driver, target, bytes);
    });
  });

  it("clone() makes a larger disk, whose new end reads as zeroes", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    for (const sizeBytes of [MiB, MiB - 512, MiB - 1]) {
      const bytes = bench.dense(sizeBytes, 1);
      const target = bench.newDisk(2 * MiB);
      await driver.clone(await bench.putNew(driver, bytes), target);
      await bench.assertContent(driver, target, bench.padded(bytes, 2 * MiB));
    }
  });

  it("clone() says whose bytes the new disk reads, and stat() and list() say the same", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const [source, target] = [await bench.putNew(driver, bench.dense(MiB, 1)), bench.newDisk(MiB)];
    const lineage = await driver.clone(source, target);
    const parent = driver.can.clone === "dependent" ? source.id : undefined;
    assert.deepEqual(lineage, { target: parent });
    assert.equal((await driver.stat(target.id))?.parent, parent);
    assert.equal((await bench.listed(driver)).find(({ id }) => id === target.id)?.parent, parent);
    assert.equal((await driver.stat(source.id))?.parent, undefined);
  });

  it("clone() keeps what is written to the clone out of its source", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.dense(MiB, 1);
    const [source, target] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await driver.clone(source, target);
    const after = await bench.scribble(driver, target, bytes, 9);
    await bench.assertContent(driver, source, bytes);
    await bench.assertContent(driver, target, after);
  });

  it("clone() keeps the content though its source changes or goes, where clones stand alone", async () => {
    await using driver = await openDriver();
    if (driver.can.clone !== "independent") return;
    const bytes = bench.dense(MiB, 1);
    const [source, target] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await driver.clone(source, target);
    await bench.scribble(driver, source, bytes, 9);
    await driver.delete(source.id);
    await bench.assertContent(driver, target, bytes);
  });

  it("clone() takes no space of its own where clones read through their parent", async () => {
    await using driver = await openDriver();
    if (driver.can.clone !== "dependent") return;
    const target = bench.newDisk(8 * MiB);
    await driver.clone(await bench.putNew(driver, bench.dense(8 * MiB, 1)), target);
    assert.ok(((await driver.stat(target.id))?.allocatedBytes ?? Infinity) <= MiB);
  });

  it("clone() of other formats keeps them byte for byte, where clones stand alone", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.dense(100_001, 1);
    const [source, target] = [bench.newDisk(MiB, "qcow2"), bench.newDisk(MiB, "qcow2")];
    await bench.put(driver, source, bytes);
    await bench.rejectsWith("not_supported", () => driver.clone(source, bench.newDisk(MiB)));
    if (driver.can.clone === "dependent") return;
    await driver.clone(source, target);
    await bench.assertContent(driver, target, bytes);
  });

  it("clone() may be repeated, and keeps what was written since", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.dense(MiB, 1);
    const [source, target] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    const first = await driver.clone(source, target);
    const after = driver.can.addressable === "write" ? await bench.scribble(driver, target, bytes, 9) : bytes;
    assert.deepEqual(await driver.clone(source, target), first);
    await bench.assertContent(driver, target, after);
  });

  it("clone() of a clone of a clone has its own content, and each can be deleted after those that read it", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.content(2 * MiB, 1);
    const chain = [await bench.putNew(driver, bytes)];
    for (let depth = 1; depth <= 3; depth++) {
      const next = bench.newDisk((2 + depth) * MiB);
      await driver.clone(chain.at(-1) as typeof next, next);
      chain.push(next);
    }
    for (const disk of chain) await bench.assertContent(driver, disk, bench.padded(bytes, disk.virtualSizeBytes));
    for (const disk of chain.toReversed()) await driver.delete(disk.id);
    assert.deepEqual(await bench.listed(driver), []);
  });

  it("clone() leaves nothing when it fails", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const target = bench.newDisk(MiB);
    await bench.rejectsWith("disk_not_found", () => driver.clone(bench.newDisk(MiB), target));
    await bench.assertGone(driver, target.id);
    const source = await bench.putNew(driver, bench.dense(MiB, 1));
    await bench.rejectsWith("cancelled", () => driver.clone(source, target, bench.cancelled));
    await bench.assertGone(driver, target.id);
  });

  it("resize() of a clone shows zeroes behind its parent's end", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.dense(MiB, 1);
    const [source, target] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await driver.clone(source, target);
    await driver.resize(target, 3 * MiB);
    await driver.resize(target, 3 * MiB);
    await driver.resize(target, MiB);
    await bench.assertContent(driver, target, bench.padded(bytes, 3 * MiB));
    await driver.resize(target, 3 * MiB + 1);
    await bench.assertContent(driver, target, bench.padded(bytes, 3 * MiB + 1));
    await bench.assertContent(driver, source, bytes);
  });

  it("copy() of a clone stands alone", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none" || !driver.can.offloadCopy) return;
    const bytes = bench.content(MiB, 1);
    const [source, clone, target] = [await bench.putNew(driver, bytes), bench.newDisk(2 * MiB), bench.newDisk(3 * MiB)];
    await driver.clone(source, clone);
    await driver.copy(clone, target);
    await driver.delete(clone.id);
    await driver.delete(source.id);
    await bench.assertContent(driver, target, bench.padded(bytes, 3 * MiB));
  });

  it("flatten() makes a clone stand alone, without a change to its content", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.content(MiB, 1);
    const [source, target] = [await bench.putNew(driver, bytes), bench.newDisk(2 * MiB)];
    await driver.clone(source, target);
    const after = driver.can.addressable === "write"
      ? await bench.scribble(driver, target, bench.padded(bytes, 2 * MiB), 9)
      : bench.padded(bytes, 2 * MiB);
    await driver.flatten(target);
    await driver.flatten(target);
    assert.equal((await driver.stat(target.id))?.parent, undefined);
    await driver.delete(source.id);
    await bench.assertContent(driver, target, after);
  });

  it("flatten() in the middle of a chain leaves those above it as they were", async () => {
    await using driver = await openDriver();
    if (driver.can.clone === "none") return;
    const bytes = bench.content(MiB, 1);
    const [base, middle, top] = [await bench.putNew(driver, bytes), bench.newDisk(MiB), bench.newDisk(MiB)];
    await driver.clone(base, middle);
    await driver.clone(middle, top);
    await driver.flatten(middle);
    await driver.delete(base.id);
    await bench.assertContent(driver, top, bytes);
    assert.equal((await driver.stat(top.id))?.parent, driver.can.clone === "dependent" ? middle.id : undefined);
  });

  it("flatten() leaves a disk that stands alone as it is, and changes nothing when it is cancelled", async () => {
    await using driver = await openDriver();
    const bytes = bench.content(MiB, 1);
    const disk = await bench.putNew(driver, bytes);
    await driver.flatten(disk);
    await bench.assertContent(driver, disk, bytes);
    await bench.rejectsWith("disk_not_found", () => driver.flatten(bench.newDisk(MiB)));
    if (driver.can.clone !== "dependent") return;
    const clone = bench.newDisk(MiB);
    await driver.clone(disk, clone);
    for (const options of [bench.cancelled, bench.cancelInTheMiddle()]) {
      await bench.rejectsWith("cancelled", () => driver.flatten(clone, options));
      assert.equal((await driver.stat(clone.id))?.parent, disk.id);
      await bench.assertContent(driver, clone, bytes);
    }
  });
}

async function refusesToClone(driver: StorageDriver): Promise<void> {
  const source = await bench.putNew(driver, bench.dense(5000, 1));
  await bench.rejectsWith("not_supported", () => driver.clone(source, bench.newDisk(5000)));
}

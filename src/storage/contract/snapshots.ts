import assert from "node:assert/strict";
import { it } from "node:test";
import { MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";

/** snapshot(): the source goes on, and what it held stays. */
export function contractOfSnapshots(openDriver: bench.OpenDriver): void {
  it("snapshot() keeps what the source holds now, while the source goes on", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    const bytes = bench.content(2 * MiB, 1);
    const [source, frozen] = [await bench.putNew(driver, bytes), bench.newDisk(2 * MiB)];
    await driver.snapshot(source, frozen);
    await bench.assertContent(driver, source, bytes);
    const after = await bench.scribble(driver, source, bytes, 9);
    await bench.assertContent(driver, frozen, bytes);
    await bench.assertContent(driver, source, after);
  });

  it("snapshot() says who reads whom", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    const [source, frozen] = [await bench.putNew(driver, bench.dense(MiB, 1)), bench.newDisk(MiB)];
    const lineage = await driver.snapshot(source, frozen);
    const [ofSource, ofFrozen] = [await driver.stat(source.id), await driver.stat(frozen.id)];
    assert.equal(ofFrozen?.parent, lineage.target);
    assert.equal(ofSource?.parent, lineage.source);
    if (driver.can.snapshotReadsSource) assert.deepEqual(lineage, { target: source.id });
    else if (driver.can.clone === "dependent") assert.deepEqual(lineage, { target: undefined, source: frozen.id });
    else assert.deepEqual(lineage, { target: undefined });
  });

  it("snapshot() may be repeated", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    const bytes = bench.dense(MiB, 1);
    const [source, frozen] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    const first = await driver.snapshot(source, frozen);
    assert.deepEqual(await driver.snapshot(source, frozen), first);
    await bench.assertContent(driver, source, bytes);
    await bench.assertContent(driver, frozen, bytes);
  });

  it("snapshot() of the same disk three times keeps each content", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    let now = bench.content(MiB, 1);
    const source = await bench.putNew(driver, now);
    const kept: { disk: ReturnType<typeof bench.newDisk>; bytes: Uint8Array }[] = [];
    for (let i = 1; i <= 3; i++) {
      const disk = bench.newDisk(MiB);
      await driver.snapshot(source, disk);
      kept.push({ disk, bytes: now });
      now = await bench.scribble(driver, source, now, i);
    }
    for (const { disk, bytes } of kept) await bench.assertContent(driver, disk, bytes);
    await bench.assertContent(driver, source, now);
    // Those that read go before those that are read.
    const inOrder = driver.can.snapshotReadsSource ? [...kept.map(({ disk }) => disk), source] : [source, ...kept.map(({ disk }) => disk).toReversed()];
    for (const { id } of inOrder) await driver.delete(id);
    assert.deepEqual(await bench.listed(driver), []);
  });

  it("snapshot() of a clone leaves the clone's source alone", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot || driver.can.clone === "none") return;
    const bytes = bench.content(MiB, 1);
    const [base, clone, frozen] = [await bench.putNew(driver, bytes), bench.newDisk(2 * MiB), bench.newDisk(2 * MiB)];
    await driver.clone(base, clone);
    const lineage = await driver.snapshot(clone, frozen);
    if (driver.can.snapshotReadsSource) assert.deepEqual(lineage, { target: clone.id });
    else if (driver.can.clone === "dependent") assert.deepEqual(lineage, { target: base.id, source: frozen.id });
    const after = await bench.scribble(driver, clone, bench.padded(bytes, 2 * MiB), 9);
    await bench.assertContent(driver, base, bytes);
    await bench.assertContent(driver, frozen, bench.padded(bytes, 2 * MiB));
    await bench.assertContent(driver, clone, after);
  });

  it("clone() of a snapshot gives what was kept", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot || driver.can.clone === "none") return;
    const bytes = bench.content(MiB, 1);
    const [source, frozen, clone] = [await bench.putNew(driver, bytes), bench.newDisk(MiB), bench.newDisk(2 * MiB)];
    await driver.snapshot(source, frozen);
    await bench.scribble(driver, source, bytes, 9);
    await driver.clone(frozen, clone);
    await bench.assertContent(driver, clone, bench.padded(bytes, 2 * MiB));
  });

  it("flatten() frees the source and its snapshot of each other", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    const bytes = bench.content(MiB, 1);
    const [source, frozen] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await driver.snapshot(source, frozen);
    const after = await bench.scribble(driver, source, bytes, 9);
    const [freed, other] = driver.can.snapshotReadsSource ? [frozen, source] : [source, frozen];
    await driver.flatten(freed);
    await driver.delete(other.id);
    await bench.assertContent(driver, freed, freed === source ? after : bytes);
  });

  it("resize() of a source leaves its snapshot as large as it was", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    const bytes = bench.content(MiB, 1);
    const [source, frozen] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await driver.snapshot(source, frozen);
    await driver.resize(source, 2 * MiB);
    await bench.assertContent(driver, source, bench.padded(bytes, 2 * MiB));
    await bench.assertContent(driver, frozen, bytes);
  });

  it("snapshot() leaves nothing, and its source unchanged, when it fails", async () => {
    await using driver = await openDriver();
    if (!driver.can.snapshot) return;
    const bytes = bench.dense(MiB, 1);
    const [source, frozen] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await bench.rejectsWith("disk_not_found", () => driver.snapshot(bench.newDisk(MiB), frozen));
    await bench.rejectsWith("cancelled", () => driver.snapshot(source, frozen, bench.cancelled));
    await bench.assertGone(driver, frozen.id);
    await bench.assertContent(driver, source, bytes);
    assert.equal((await driver.stat(source.id))?.parent, undefined);
  });
}

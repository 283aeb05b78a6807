import assert from "node:assert/strict";
import { it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import type { ByteRange, StorageDriver, StoredRef } from "#/storage/driver.ts";

const SIZE_BYTES = 8 * MiB;
/** A driver may name whole objects of Ceph; `scribble()` writes 96 KiB. */
const SOME_BYTES = 5 * MiB;

/** changes(): every difference between two disks is named, and where the pool knows them, little more. */
export function contractOfChanges(openDriver: bench.OpenDriver): void {
  it("changes() is refused where the storage does not know them", async () => {
    await using driver = await openDriver();
    if (driver.can.changes) return;
    const disk = bench.newDisk(MiB);
    if (driver.changes) await bench.rejectsWith("not_supported", () => all(driver, disk, disk));
  });

  it("changes() names what was written since a snapshot, and since the one before", async () => {
    await using driver = await openDriver();
    if (!driver.can.changes || !driver.can.snapshot) return;
    const first = bench.dense(SIZE_BYTES, 1);
    const [source, older, newer] = [await bench.putNew(driver, first), bench.newDisk(SIZE_BYTES), bench.newDisk(SIZE_BYTES)];
    await driver.snapshot(source, older);
    await namesAll(driver, { disk: older, bytes: first }, { disk: source, bytes: first });
    const second = await bench.scribble(driver, source, first, 9);
    await driver.snapshot(source, newer);
    const third = await writeAt(driver, source, second, 7 * MiB);
    const [a, b, c] = [{ disk: older, bytes: first }, { disk: newer, bytes: second }, { disk: source, bytes: third }];
    await Promise.all(([[a, b], [b, c], [a, c], [c, a]] as const).map(([from, to]) => namesAll(driver, from, to)));
    assert.deepEqual(await all(driver, older, older), []);
    if (driver.can.addressable !== "write") return;
    assert.ok(sum(await all(driver, older, newer)) <= SOME_BYTES, "between two snapshots");
    assert.ok(sum(await all(driver, newer, source)) <= SOME_BYTES, "since a snapshot");
    assert.ok((await all(driver, newer, source)).every(({ start }) => start >= 4 * MiB), "It names what was written before.");
  });

  it("changes() between a disk and its clones, and between these", async () => {
    await using driver = await openDriver();
    if (!driver.can.changes || driver.can.clone === "none") return;
    const bytes = bench.content(SIZE_BYTES, 1);
    const [source, one, other] = [bench.newDisk(SIZE_BYTES), bench.newDisk(SIZE_BYTES), bench.newDisk(SIZE_BYTES + 4 * MiB)];
    await bench.put(driver, { ...source, frozen: true }, bytes);
    for (const clone of [one, other]) await driver.clone(source, clone);
    const [ofOne, ofOther] = [await bench.scribble(driver, one, bytes, 9), await writeAt(driver, other, bench.padded(bytes, SIZE_BYTES + 4 * MiB), 7 * MiB)];
    const [base, a, b] = [{ disk: source, bytes }, { disk: one, bytes: ofOne }, { disk: other, bytes: ofOther }];
    await Promise.all(([[base, a], [base, b], [a, b], [b, base]] as const).map(([from, to]) => namesAll(driver, from, to)));
    if (driver.can.addressable === "write") assert.ok(sum(await all(driver, source, one)) <= SOME_BYTES);
  });

  it("changes() names only what is in the range, and nothing beyond the end of the disk", async () => {
    await using driver = await openDriver();
    if (!driver.can.changes || !driver.can.snapshot) return;
    const bytes = bench.dense(SIZE_BYTES, 1);
    const [source, older] = [await bench.putNew(driver, bytes), bench.newDisk(SIZE_BYTES)];
    await driver.snapshot(source, older);
    await bench.scribble(driver, source, bytes, 9);
    const changes = (start: number, end: number) => all(driver, older, source, { start, end });
    const [part, whole] = await Promise.all([changes(32 * KiB, 64 * KiB), changes(0, 1024 * MiB)]);
    assert.deepEqual(part, [{ start: 32 * KiB, end: 64 * KiB }]);
    assert.ok((whole.at(-1)?.end ?? 0) <= SIZE_BYTES);
    const halves = await Promise.all([changes(0, 60_000), changes(60_000, SIZE_BYTES)]);
    assert.equal(sum(halves.flat()), sum(whole));
  });

  it("changes() of a disk that has grown counts the new end as zeroes", async () => {
    await using driver = await openDriver();
    if (!driver.can.changes || !driver.can.snapshot) return;
    const bytes = bench.dense(MiB, 1);
    const [source, older] = [await bench.putNew(driver, bytes), bench.newDisk(MiB)];
    await driver.snapshot(source, older);
    await driver.resize(source, 64 * MiB);
    const grown = { ...source, virtualSizeBytes: 64 * MiB };
    await namesAll(driver, { disk: older, bytes }, { disk: grown, bytes: bench.padded(bytes, 64 * MiB) });
    if (driver.can.addressable === "write") assert.ok(sum(await all(driver, older, grown)) <= SOME_BYTES);
  });

  it("changes() says what is not there, of what it knows nothing, and when it is cancelled", async () => {
    await using driver = await openDriver();
    if (!driver.can.changes) return;
    const [disk, file] = [await bench.putNew(driver, bench.dense(MiB, 1)), bench.newDisk(MiB, "qcow2")];
    await bench.put(driver, file, await bench.packed(bench.dense(MiB, 1)));
    await bench.rejectsWith("disk_not_found", () => all(driver, bench.newDisk(MiB), disk));
    await bench.rejectsWith("disk_not_found", () => all(driver, disk, bench.newDisk(MiB)));
    await bench.rejectsWith("not_supported", () => all(driver, disk, file));
    if (!driver.can.snapshot) return;
    const older = bench.newDisk(MiB);
    await driver.snapshot(disk, older);
    await bench.rejectsWith("cancelled", () => all(driver, older, disk, undefined, bench.cancelled));
  });

  it("changes() of disks that share nothing misses nothing: it names all of it, or says that it cannot know", async () => {
    await using driver = await openDriver();
    if (!driver.can.changes) return;
    const [one, other] = [bench.dense(MiB, 1), bench.dense(MiB, 2)];
    const [from, to] = [await bench.putNew(driver, one), await bench.putNew(driver, other)];
    const found = await all(driver, from, to).catch((error: unknown) => error);
    if (Array.isArray(found)) assert.deepEqual(found, [{ start: 0, end: MiB }]);
    else await bench.rejectsWith("not_supported", () => Promise.reject(found));
  });
}

interface Known {
  readonly disk: StoredRef;
  readonly bytes: Uint8Array;
}

/** Every byte that differs is named; what is named is in order, apart, and inside of the disk. */
async function namesAll(driver: StorageDriver, from: Known, to: Known): Promise<void> {
  const ranges = await all(driver, from.disk, to.disk);
  const now = Buffer.from(to.bytes);
  const before = Buffer.alloc(now.length);
  before.set(from.bytes.subarray(0, now.length));
  let end = -1;
  for (const range of ranges) {
    assert.ok(range.start > end && range.end > range.start && range.end <= now.length, `${JSON.stringify(range)} after ${end}`);
    now.copy(before, range.start, range.start, range.end);
    end = range.end;
  }
  assert.equal(Buffer.compare(before, now), 0, "A difference was not named.");
}

async function all(driver: StorageDriver, from: StoredRef, to: StoredRef, range?: ByteRange, options?: { signal?: AbortSignal | undefined }): Promise<ByteRange[]> {
  assert.ok(driver.changes);
  return Array.fromAsync(driver.changes(from, to, range ?? { start: 0, end: to.virtualSizeBytes }, options));
}

/** As `bench.scribble()`, elsewhere. */
async function writeAt(driver: StorageDriver, disk: StoredRef, before: Uint8Array, start: number): Promise<Uint8Array> {
  const after = before.slice().fill(7, start, start + 32 * KiB);
  if (driver.can.addressable === "write") await bench.writeNode(await driver.open(disk, "write"), 7, { start, end: start + 32 * KiB });
  else await bench.put(driver, disk, after);
  return after;
}

function sum(ranges: readonly ByteRange[]): number {
  return ranges.reduce((bytes, { start, end }) => bytes + end - start, 0);
}

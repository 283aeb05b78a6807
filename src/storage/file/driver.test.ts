import assert from "node:assert/strict";
import { copyFile, link, mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { KiB, MiB } from "#/lib/units.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import {
  assertContent,
  assertGone,
  content,
  dense,
  get,
  listed,
  newDisk,
  padded,
  putNew,
  rejectsWith,
  scribble,
} from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { StoredRef } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { createOverlay } from "#/tools/qemu-img.ts";

const root = await mkdtemp(join(tmpdir(), "mica-file-driver-"));
after(() => rm(root, { recursive: true, force: true }));

storageDriverContract("FileDriver", async () => FileDriver.open(await mkdtemp(join(root, "pool-"))));

/** A pool, and the path of a disk's file in it. */
async function openPool() {
  const directory = await mkdtemp(join(root, "pool-"));
  const driver = await FileDriver.open(directory);
  const path = ({ id }: StoredRef, suffix: string) => join(directory, `${id}.${suffix}`);
  return { driver, directory, path };
}

describe("FileDriver", () => {
  it("leaves nothing of its probes in the folder", async () => {
    const { directory } = await openPool();
    assert.deepEqual(await readdir(directory), []);
  });

  it("refuses a folder that is not there", async () => {
    await rejectsWith("pool_unavailable", () => FileDriver.open(join(root, "nowhere")));
  });

  it("takes no other files for disks, and follows no links", async () => {
    const { driver, directory, path } = await openPool();
    await writeFile(join(directory, "notes.txt"), "of the operator");
    await mkdir(join(directory, "lost+found"));
    const trap = newDisk(10);
    await symlink("/etc/passwd", path(trap, "disk"));
    assert.deepEqual(await listed(driver), []);
    await rejectsWith("disk_not_found", () => driver.open(trap, "read"));
  });

  it("does not believe that disks are gone when their folder is", async () => {
    const { driver, directory } = await openPool();
    const disk = await putNew(driver, dense(KiB, 1));
    await rename(directory, `${directory}-elsewhere`);
    const asks = [
      () => driver.stat(disk.id),
      () => driver.delete(disk.id),
      () => driver.capacity(),
      () => listed(driver),
      () => driver.create(newDisk(KiB)),
    ];
    for (const ask of asks) await rejectsWith("pool_unavailable", ask);
    await mkdir(directory); // As when a mount is gone and its mount point is left.
    for (const ask of asks.slice(0, 4)) await rejectsWith("pool_unavailable", ask);
    await rm(directory, { recursive: true });
    await rename(`${directory}-elsewhere`, directory);
    await assertContent(driver, disk, dense(KiB, 1));
  });

  it("deletes partial work, such as a dead operation leaves", async () => {
    const { driver, directory } = await openPool();
    const disk = newDisk(MiB);
    const deserted = await driver.receive(disk);
    await deserted.write(dense(64 * KiB, 1), 0);
    await driver.delete(disk.id);
    await assertGone(driver, disk.id);
    await deserted.abort();
    assert.deepEqual(await readdir(directory), []);
  });

  it("takes blocks that are not page-aligned too, only slower", async () => {
    const { driver } = await openPool();
    const bytes = dense(MiB + 777, 1);
    const memory = new Uint8Array(bytes.length + 3);
    memory.set(bytes, 3);
    const disk = newDisk(bytes.length);
    const writer = await driver.receive(disk);
    for (let start = 0; start < bytes.length; start += 256 * KiB) {
      await writer.write(memory.subarray(3 + start, 3 + Math.min(start + 256 * KiB, bytes.length)), start);
    }
    await writer.finish(bytes.length);
    await assertContent(driver, disk, bytes);
  });

  it("does not read holes", async () => {
    const { driver } = await openPool();
    const disk = await putNew(driver, padded(dense(64 * KiB, 1), 8 * MiB));
    let readBytes = 0;
    for await (const block of driver.read(disk, { start: 0, end: 8 * MiB })) if (block.buffer !== ZEROES.buffer) readBytes += block.length;
    assert.equal(readBytes, 64 * KiB);
  });

  it("stops a copy in the middle", async () => {
    const { driver } = await openPool();
    const source = await putNew(driver, dense(24 * MiB, 1));
    const [stop, seen] = [new AbortController(), [] as number[]];
    const onProgress = (fraction: number) => {
      seen.push(fraction);
      stop.abort();
    };
    await rejectsWith("cancelled", () => driver.copy(source, newDisk(24 * MiB), { signal: stop.signal, onProgress }));
    assert.ok(seen.length === 1 && (seen[0] ?? 1) < 0.5, `progress: ${seen}`);
  });

  it("opens no file that a header names", async () => {
    const { driver, path } = await openPool();
    const [evil, orphan, circle] = [newDisk(MiB), newDisk(MiB), newDisk(MiB)];
    const overlay = { virtualSizeBytes: MiB, backingFormat: "raw" } as const;
    await createOverlay({ ...overlay, filename: path(evil, "overlay"), backingFilename: "/etc/passwd" });
    await createOverlay({ ...overlay, filename: path(orphan, "overlay"), backingFilename: `${newDisk(MiB).id}.disk` });
    await createOverlay({ ...overlay, filename: path(circle, "overlay"), backingFilename: `${circle.id}.overlay` });
    for (const disk of [evil, orphan, circle]) await rejectsWith("disk_not_found", () => driver.open(disk, "read"));
    await driver.delete(evil.id);
    await assertGone(driver, evil.id);
  });

  it("keeps every disk in a file that only we can read", async () => {
    const { driver, path } = await openPool();
    const disk = await putNew(driver, dense(KiB, 1));
    assert.equal((await stat(path(disk, "disk"))).mode & 0o777, 0o600);
  });
});

/** These are ext4's ways; where the temporary folder can share blocks, the driver has no need of them. */
const canOverlay = (await FileDriver.open(root)).can.clone === "dependent";
const overlays = { skip: !canOverlay && "the temporary folder's file system shares blocks" };

describe("FileDriver, killed in the middle of a snapshot", overlays, () => {
  const bytes = content(MiB, 1);

  /** A disk and the snapshot of it that is to be. */
  async function begin() {
    const pool = await openPool();
    return { ...pool, source: await putNew(pool.driver, bytes), frozen: newDisk(MiB) };
  }

  it("after the new overlay was written: the source is as it was, and a repeated call succeeds", async () => {
    const { driver, path, source, frozen } = await begin();
    const overlay = { filename: path(source, "partial"), backingFilename: `${frozen.id}.disk`, backingFormat: "raw" } as const;
    await createOverlay({ ...overlay, virtualSizeBytes: MiB });
    await assertContent(driver, source, bytes);
    assert.deepEqual(await driver.snapshot(source, frozen), { target: undefined, source: frozen.id });
    await assertContent(driver, source, bytes);
    await assertContent(driver, frozen, bytes);
  });

  it("after the file got its second name: a repeated call goes on", async () => {
    const { driver, path, directory, source, frozen } = await begin();
    await link(path(source, "disk"), path(frozen, "disk"));
    assert.deepEqual(await driver.snapshot(source, frozen), { target: undefined, source: frozen.id });
    const after = await scribble(driver, source, bytes, 9);
    await assertContent(driver, frozen, bytes);
    await assertContent(driver, source, after);
    assert.equal((await readdir(directory)).length, 2);
  });

  it("after the file got its second name: deleting the snapshot leaves the source", async () => {
    const { driver, path, source, frozen } = await begin();
    await link(path(source, "disk"), path(frozen, "disk"));
    await driver.delete(frozen.id);
    await assertContent(driver, source, bytes);
    await assertGone(driver, frozen.id);
  });

  it("after the overlay got its name: it counts, not the old file, and a repeated call tidies up", async () => {
    const { driver, path, directory, source, frozen } = await begin();
    await driver.snapshot(source, frozen);
    await link(path(frozen, "disk"), path(source, "disk"));
    const after = await scribble(driver, source, bytes, 9);
    await assertContent(driver, source, after);
    assert.equal((await listed(driver)).length, 2);
    assert.deepEqual(await driver.snapshot(source, frozen), { target: undefined, source: frozen.id });
    assert.equal((await readdir(directory)).length, 2);
    await assertContent(driver, source, after);
    await assertContent(driver, frozen, bytes);
  });

  it("refuses a target that is another disk", async () => {
    const { driver, source } = await begin();
    const other = await putNew(driver, dense(MiB, 2));
    await rejectsWith("conflict", () => driver.snapshot(source, other));
    await assertContent(driver, other, dense(MiB, 2));
  });
});

describe("FileDriver, killed in the middle of flatten()", overlays, () => {
  it("after the flat file got its name: the disk is whole, and a repeated call, resize() and delete() do right", async () => {
    const bytes = content(MiB, 1);
    const { driver, path, directory } = await openPool();
    const [source, clone] = [await putNew(driver, bytes), newDisk(MiB)];
    await driver.clone(source, clone);
    await copyFile(path(source, "disk"), path(clone, "disk"));
    const after = await scribble(driver, clone, bytes, 9);
    assert.equal((await driver.stat(clone.id))?.parent, source.id);
    await driver.flatten(clone);
    assert.equal((await driver.stat(clone.id))?.parent, undefined);
    await assertContent(driver, clone, after);
    await driver.delete(source.id);
    await driver.delete(clone.id);
    assert.deepEqual(await readdir(directory), []);
  });

  it("in the middle of writing it: nothing has changed", async () => {
    const { driver, path } = await openPool();
    const bytes = content(MiB, 1);
    const [source, clone] = [await putNew(driver, bytes), newDisk(MiB)];
    await driver.clone(source, clone);
    await writeFile(path(clone, "partial"), "half of it");
    await assertContent(driver, clone, bytes);
    await driver.flatten(clone);
    assert.deepEqual(await get(driver, clone), Buffer.from(bytes));
  });
});

describe("FileDriver, while flatten() ends", overlays, () => {
  it("a disk can be read at each moment", async () => {
    const { driver } = await openPool();
    const bytes = content(2 * MiB, 3);
    const base = await putNew(driver, bytes);
    for (let round = 0; round < 4; round++) {
      const clone = newDisk(bytes.length);
      await driver.clone(base, clone);
      let isFlat = false;
      const flattening = driver.flatten(clone).then(() => (isFlat = true));
      const readers: Promise<void>[] = [];
      while (!isFlat) {
        readers.push(assertContent(driver, clone, bytes));
        await delay(10);
      }
      await Promise.all([flattening, ...readers]);
    }
  });
});

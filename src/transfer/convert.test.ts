import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { assertContent, assertGone, cancelInTheMiddle, cancelled, content, get, newDisk, padded, put, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { type Conversion, convert, isStreamable, stageThenConvert } from "#/transfer/convert.ts";
import { measure } from "#/transfer/measure.ts";
import type { Source } from "#/transfer/source.ts";

const root = await mkdtemp(join(tmpdir(), "mica-convert-"));
after(() => rm(root, { recursive: true }));
const files = async () => FileDriver.open(await mkdtemp(join(root, "pool-")));
const memory = async () => new MemoryDriver();
const POOLS = { memory, files };
const GUEST_BYTES = 6 * MiB;
const guest = content(GUEST_BYTES, 1);
guest.fill(0, MiB, 3 * MiB);

const FORMATS = { qcow2: "qcow2", vmdk: "vmdk", vhd: "vpc", vhdx: "vhdx", vdi: "vdi" } as const;
type Packed = keyof typeof FORMATS;

/** What qemu-img makes of the guest's disk, in each format. */
const images = new Map<Packed, Uint8Array>();
for (const format of Object.keys(FORMATS) as Packed[]) {
  const [raw, packed] = [join(root, "guest.raw"), join(root, `guest.${format}`)];
  await writeFile(raw, guest);
  await writeFile(packed, "");
  await qemuImg.convert(fileNode(raw, "raw"), { filename: packed, format: FORMATS[format] });
  images.set(format, await readFile(packed));
}

async function putImage(pool: StorageDriver, format: Packed): Promise<Source> {
  const disk = newDisk(GUEST_BYTES, format);
  await put(pool, disk, images.get(format) as Uint8Array);
  return { pool, disk };
}

/** What a guest sees of a disk, by qemu-img. */
async function guestView({ pool, disk }: Source): Promise<Uint8Array> {
  const [packed, raw] = [join(root, randomUUID()), join(root, randomUUID())];
  await writeFile(packed, await get(pool as StorageDriver, disk));
  await writeFile(raw, new Uint8Array((await qemuImg.info(fileNode(packed, disk.format))).virtualSizeBytes));
  await qemuImg.convert(fileNode(packed, disk.format), fileNode(raw, "raw"));
  return readFile(raw);
}

describe("convert()", () => {
  for (const [from, openSource] of Object.entries(POOLS)) {
    for (const [to, openTarget] of Object.entries(POOLS)) {
      it(`copies a raw disk from ${from} to ${to}, of any length, into a larger one too, and skips its holes`, async () => {
        await using source = await openSource();
        await using target = await openTarget();
        for (const [sizeBytes, targetBytes] of [[0, 0], [1, 4096], [MiB + 513, MiB + 513], [GUEST_BYTES, GUEST_BYTES], [GUEST_BYTES, 3 * GUEST_BYTES]] as const) {
          const bytes = guest.subarray(0, sizeBytes);
          const [disk, made] = [await putNew(source, bytes), newDisk(targetBytes)];
          const moved = await convert({ source: { pool: source, disk }, target: { pool: target, disk: made } });
          await assertContent(target, made, padded(bytes, targetBytes));
          assert.equal(moved.bytesWritten, (await target.stat(made.id))?.allocatedBytes);
          if (sizeBytes < MiB) continue;
          assert.ok(moved.bytesRead > 0 && moved.bytesRead <= sizeBytes - (sizeBytes === GUEST_BYTES ? 2 * MiB : 0), `${moved.bytesRead} bytes were read`);
          assert.ok(moved.bytesWritten <= moved.bytesRead + 512 * KiB, `${moved.bytesWritten} bytes were written`);
        }
      });

      it(`copies an image from ${from} to ${to} byte for byte where the format stays`, async () => {
        await using source = await openSource();
        await using target = await openTarget();
        const [image, made] = [await putImage(source, "qcow2"), newDisk(GUEST_BYTES, "qcow2")];
        await convert({ source: image, target: { pool: target, disk: made } });
        await assertContent(target, made, images.get("qcow2") as Uint8Array);
      });
    }
  }

  for (const format of Object.keys(FORMATS) as Packed[]) {
    it(`converts ${format} to a larger raw disk where it lies, and raw to ${format}`, async () => {
      await using pool = await files();
      const image = await putImage(pool, format);
      for (const target of [pool, new MemoryDriver()]) {
        const made = newDisk(2 * GUEST_BYTES);
        const moved = await convert({ source: image, target: { pool: target, disk: made } });
        await assertContent(target, made, padded(guest, 2 * GUEST_BYTES));
        assert.ok(moved.bytesRead > 0 && moved.bytesRead <= GUEST_BYTES);
      }
      const packed = newDisk(GUEST_BYTES, format);
      await convert({ source: { pool, disk: await putNew(pool, guest) }, target: { pool, disk: packed } });
      assert.deepEqual(await guestView({ pool, disk: packed }), Buffer.from(guest));
    });
  }

  it("compresses, also where the format stays", async () => {
    await using pool = await files();
    const half = padded(new Uint8Array(3 * MiB).fill(7), GUEST_BYTES);
    const [plain, packed, again] = [newDisk(GUEST_BYTES, "qcow2"), newDisk(GUEST_BYTES, "qcow2"), newDisk(GUEST_BYTES, "qcow2")];
    const raw = { pool, disk: await putNew(pool, half) };
    await convert({ source: raw, target: { pool, disk: plain } });
    await convert({ source: raw, target: { pool, disk: packed }, clusters: "zstd" });
    await convert({ source: { pool, disk: plain }, target: { pool, disk: again }, clusters: "zstd" });
    for (const disk of [packed, again]) {
      assert.ok(((await pool.stat(disk.id))?.sizeBytes ?? 0) < MiB);
      assert.deepEqual(await guestView({ pool, disk }), Buffer.from(half));
    }
  });

  it("reads a disk through all that it stands on", async () => {
    for (const driver of [new MemoryDriver({ clone: "dependent" }), await files()]) {
      const base = await putNew(driver, guest);
      const top = newDisk(GUEST_BYTES);
      const { target: parent } = await driver.clone(base, top);
      for (const target of [new MemoryDriver(), await files()]) {
        const made = newDisk(GUEST_BYTES);
        const source = { pool: driver, disk: { ...top, parent }, ancestors: [{ pool: driver, disk: base }] };
        const moved = await convert({ source, target: { pool: target, disk: made } });
        await assertContent(target, made, guest);
        assert.ok(moved.bytesRead > 2 * MiB, `${moved.bytesRead} bytes were read`);
      }
    }
  });

  it("counts what it reads of a disk in another pool", async () => {
    const images = new MemoryDriver({ clone: "dependent" });
    const volumes = new MemoryDriver({ beside: images });
    const base = await putNew(images, guest);
    const top = newDisk(GUEST_BYTES);
    await volumes.clone({ ...base, location: images.locate(base) }, top);
    const source = { pool: volumes, disk: { ...top, parent: base.id }, ancestors: [{ pool: images, disk: base }] };
    const moved = await convert({ source, target: { pool: new MemoryDriver(), disk: newDisk(GUEST_BYTES) } });
    assert.ok(moved.bytesRead > 2 * MiB, `${moved.bytesRead} bytes were read`);
  });

  it("takes ISO and LUKS images as the plain bytes that they are", async () => {
    await using pool = await files();
    for (const format of ["iso", "luks"] as const) {
      const source = newDisk(MiB, format);
      await put(pool, source, guest.subarray(0, MiB));
      const made = newDisk(2 * MiB);
      await convert({ source: { pool, disk: source }, target: { pool, disk: made } });
      await assertContent(pool, made, padded(guest.subarray(0, MiB), 2 * MiB));
    }
  });

  it("tells how far it is", async () => {
    for (const pool of [new MemoryDriver(), await files()]) {
      const fractions: number[] = [];
      const source = { pool, disk: await putNew(pool, guest) };
      await convert({ source, target: { pool, disk: newDisk(GUEST_BYTES) }, onProgress: (fraction) => fractions.push(fraction) });
      assert.equal(fractions.at(-1), 1);
      assert.deepEqual(fractions, fractions.toSorted((a, b) => a - b));
    }
  });

  it("refuses what takes a temporary file, and says why", async () => {
    const [pool, disks] = [new MemoryDriver(), await files()];
    const refused: Conversion[] = [
      { source: await putImage(pool, "qcow2"), target: { pool: disks, disk: newDisk(GUEST_BYTES) } },
      { source: { pool, disk: await putNew(pool, guest) }, target: { pool: disks, disk: newDisk(GUEST_BYTES, "qcow2") } },
      { source: { pool: disks, disk: await putNew(disks, guest) }, target: { pool, disk: newDisk(GUEST_BYTES, "qcow2") } },
    ];
    for (const conversion of refused) {
      assert.equal(isStreamable(conversion), false);
      await assert.rejects(convert(conversion), /cannot be opened in place, since no other program can open/);
      await assertGone(conversion.target.pool, conversion.target.disk.id);
    }
  });

  it("never cuts a disk that is larger than its record says", async () => {
    await using pool = await files();
    const { disk } = await putImage(pool, "qcow2");
    for (const target of [pool, new MemoryDriver()]) {
      const small = newDisk(MiB);
      await assert.rejects(convert({ source: { pool, disk: { ...disk, virtualSizeBytes: MiB } }, target: { pool: target, disk: small } }));
      await assertGone(target, small.id);
    }
  });

  it("says that the source is not there, or is no such disk, and leaves nothing", async () => {
    await using pool = await files();
    const broken = newDisk(MiB, "qcow2");
    await put(pool, broken, guest.subarray(0, MiB));
    for (const target of [pool, new MemoryDriver()]) {
      const made = newDisk(MiB);
      await rejectsWith("disk_not_found", () => convert({ source: { pool, disk: newDisk(MiB) }, target: { pool: target, disk: made } }));
      await rejectsWith("tool_failed", () => convert({ source: { pool, disk: broken }, target: { pool: target, disk: made } }));
      await assertGone(target, made.id);
    }
  });

  it("leaves nothing when it is cancelled, or the pool is full", async () => {
    const disks = await files();
    const small = new MemoryDriver({ capacityBytes: MiB });
    for (const source of [new MemoryDriver(), disks]) {
      const disk = await putNew(source, guest);
      for (const target of [new MemoryDriver(), disks]) {
        const made = newDisk(GUEST_BYTES);
        const conversion = { source: { pool: source, disk }, target: { pool: target, disk: made } };
        await rejectsWith("cancelled", () => convert({ ...conversion, ...cancelled }));
        await rejectsWith("cancelled", () => convert({ ...conversion, ...cancelInTheMiddle() }));
        await assertGone(target, made.id);
      }
      const made = newDisk(GUEST_BYTES);
      await rejectsWith("pool_full", () => convert({ source: { pool: source, disk }, target: { pool: small, disk: made } }));
      await assertGone(small, made.id);
    }
  });

  it("may be repeated when it was done", async () => {
    for (const pool of [new MemoryDriver(), await files()]) {
      const conversion = { source: { pool, disk: await putNew(pool, guest) }, target: { pool, disk: newDisk(GUEST_BYTES) } };
      const moved = await convert(conversion);
      assert.deepEqual(await convert(conversion), moved);
    }
  });
});

describe("stageThenConvert()", () => {
  const staging = async (sizeBytesMax = 100 * MiB) => {
    const dir = await mkdtemp(join(root, "staging-"));
    return { dir, staging: { path: join(dir, randomUUID()), sizeBytesMax } };
  };

  it("converts where neither end can be opened in place", async () => {
    for (const openTarget of [memory, files]) {
      const [source, target] = [new MemoryDriver(), await openTarget()];
      for (const format of ["qcow2", "vmdk"] as const) {
        const { dir, staging: place } = await staging();
        const [made, packed] = [newDisk(2 * GUEST_BYTES), newDisk(GUEST_BYTES, format)];
        const moved = await stageThenConvert({ source: await putImage(source, format), target: { pool: target, disk: made }, staging: place });
        await assertContent(target, made, padded(guest, 2 * GUEST_BYTES));
        assert.ok(moved.bytesTemporary > 2 * MiB && moved.bytesRead > moved.bytesTemporary && moved.bytesWritten > moved.bytesTemporary);
        const back = { source: { pool: source, disk: await putNew(source, guest) }, target: { pool: target, disk: packed }, staging: place };
        const { bytesTemporary } = await stageThenConvert(back);
        assert.ok(bytesTemporary > 2 * MiB);
        assert.deepEqual(await guestView({ pool: target, disk: packed }), Buffer.from(guest));
        assert.deepEqual(await readdir(dir), []);
      }
    }
  });

  it("stages only what must be: a target that cannot be opened takes one temporary file, an easy way none", async () => {
    const [disks, target] = [await files(), new MemoryDriver()];
    const source = { pool: disks, disk: await putNew(disks, guest) };
    const { dir, staging: place } = await staging();
    const [packed, easy] = [newDisk(GUEST_BYTES, "vdi"), newDisk(GUEST_BYTES)];
    await stageThenConvert({ source, target: { pool: target, disk: packed }, staging: place });
    assert.deepEqual(await guestView({ pool: target, disk: packed }), Buffer.from(guest));
    const { bytesTemporary } = await stageThenConvert({ source, target: { pool: target, disk: easy }, staging: { ...place, sizeBytesMax: 0 } });
    assert.equal(bytesTemporary, 0);
    assert.deepEqual(await readdir(dir), []);
  });

  it("tells how far it is", async () => {
    const { staging: place } = await staging();
    const fractions: number[] = [];
    const source = await putImage(new MemoryDriver(), "qcow2");
    const target = { pool: await files(), disk: newDisk(GUEST_BYTES) };
    await stageThenConvert({ source, target, staging: place, onProgress: (fraction) => fractions.push(fraction) });
    assert.equal(fractions.at(-1), 1);
    assert.deepEqual(fractions, fractions.toSorted((a, b) => a - b));
  });

  it("leaves nothing when it fails, at any point, and writes over what a crash has left", async () => {
    const { dir, staging: place } = await staging();
    const target = { pool: await files(), disk: newDisk(GUEST_BYTES) };
    const pool = new MemoryDriver();
    const source = await putImage(pool, "qcow2");
    const broken = newDisk(MiB, "qcow2");
    await put(pool, broken, guest.subarray(0, MiB));
    const assertNothing = async () => {
      assert.deepEqual(await readdir(dir), []);
      await assertGone(target.pool, target.disk.id);
    };
    await rejectsWith("pool_full", () => stageThenConvert({ source, target, staging: { ...place, sizeBytesMax: MiB } }));
    await assertNothing();
    await rejectsWith("cancelled", () => stageThenConvert({ source, target, staging: place, ...cancelInTheMiddle() }));
    await assertNothing();
    await rejectsWith("tool_failed", () => stageThenConvert({ source: { pool, disk: broken }, target, staging: place }));
    await assertNothing();
    await writeFile(`${place.path}.source`, "left by a crash");
    await stageThenConvert({ source, target, staging: place });
    await assertContent(target.pool, target.disk, guest);
    assert.deepEqual(await readdir(dir), []);
  });

  it("refuses a disk that no tool may open", async () => {
    const { dir, staging: place } = await staging();
    const pool = new MemoryDriver();
    const opaque = newDisk(MiB, "opaque");
    await put(pool, opaque, guest.subarray(0, MiB));
    await rejectsWith("not_supported", () => stageThenConvert({ source: { pool, disk: opaque }, target: { pool, disk: newDisk(MiB) }, staging: place }));
    assert.deepEqual(await readdir(dir), []);
  });
});

describe("measure()", () => {
  const formats: DiskFormat[] = ["raw", ...(Object.keys(FORMATS) as Packed[])];

  it("is never less than what the conversion takes, and near to it where the disk is sparse", async () => {
    await using pool = await files();
    const sparse = padded(guest, 400 * MiB);
    sparse.set(guest, 300 * MiB);
    const disk = newDisk(sparse.length);
    await put(pool, disk, sparse);
    const packed = newDisk(sparse.length, "qcow2");
    await convert({ source: { pool, disk }, target: { pool, disk: packed } });
    for (const source of [{ pool, disk }, { pool, disk: packed }]) {
      for (const format of formats) {
        const made = newDisk(sparse.length, format);
        const measured = await measure({ source, targetFormat: format });
        const { bytesWritten } = await convert({ source, target: { pool, disk: made } });
        assert.ok(measured >= bytesWritten, `${format}: ${bytesWritten} bytes were written, ${measured} were measured`);
        assert.ok(measured <= 100 * MiB, `${format}: ${measured} were measured`);
      }
    }
  });

  it("takes the worst where a disk cannot be opened", async () => {
    const pool = new MemoryDriver();
    const image = await putImage(pool, "qcow2");
    assert.equal(await measure({ source: image, targetFormat: "raw" }), GUEST_BYTES);
    assert.ok((await measure({ source: image, targetFormat: "vmdk" })) > GUEST_BYTES);
    assert.equal(await measure({ source: image, targetFormat: "qcow2" }), (await pool.stat(image.disk.id))?.allocatedBytes);
    const raw = { pool, disk: await putNew(pool, guest) };
    const { allocatedBytes = 0 } = (await pool.stat(raw.disk.id)) ?? {};
    assert.equal(await measure({ source: raw, targetFormat: "raw" }), allocatedBytes);
    assert.ok((await measure({ source: raw, targetFormat: "qcow2" })) > allocatedBytes);
  });

  it("says that a disk is not there", async () => {
    for (const pool of [new MemoryDriver(), await files()]) {
      for (const targetFormat of ["raw", "qcow2"] as const) {
        await rejectsWith("disk_not_found", () => measure({ source: { pool, disk: newDisk(MiB) }, targetFormat }));
      }
    }
  });
});

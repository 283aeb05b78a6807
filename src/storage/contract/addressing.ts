import assert from "node:assert/strict";
import { it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import { KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { convert, filesOf, jsonFilename, type NewFile, objectArguments } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import { readNode } from "#/storage/read-ahead.ts";

/** fill() and open(): disks as QEMU reaches them. */
export function contractOfAddressing(openDriver: bench.OpenDriver): void {
  it("fill() and open() are refused where no other program can reach the disks", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable === "write") return;
    const disk = await bench.putNew(driver, bench.dense(MiB, 1));
    const target = bench.newDisk(MiB);
    await bench.rejectsWith("not_supported", () => driver.fill(target, async () => {}));
    await bench.rejectsWith("not_supported", () => driver.open(disk, "write"));
    if (driver.can.addressable === "none") await bench.rejectsWith("not_supported", () => driver.open(disk, "read"));
    await bench.assertGone(driver, target.id);
  });

  it("fill() gives a raw disk of the exact size that reads as zeroes, and shows it when it is done", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write") return;
    for (const sizeBytes of [64 * KiB, MiB, MiB + 512, MiB + 1]) {
      const disk = bench.newDisk(sizeBytes);
      await driver.fill(disk, async (node) => {
        await bench.writeNode(node, 7, { start: 4 * KiB, end: 8 * KiB });
        await bench.writeNode(node, 7, lastSector(sizeBytes));
        assert.equal(await driver.stat(disk.id), undefined);
        assert.equal((await bench.listed(driver)).find(({ id }) => id === disk.id)?.partial, true);
      });
      const expected = new Uint8Array(sizeBytes).fill(7, 4 * KiB, 8 * KiB).fill(7, lastSector(sizeBytes).start);
      await bench.assertContent(driver, disk, expected);
    }
  });

  it("fill() takes the file that a tool creates", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write") return;
    const bytes = bench.content(2 * MiB, 1);
    const source = await bench.putNew(driver, bytes);
    const packed = bench.newDisk(2 * MiB, "qcow2");
    if (driver.can.fills?.includes("qcow2") === false) return await bench.rejectsWith("not_supported", () => driver.fill(packed, () => assert.fail("never called")));
    const from = await driver.open(source, "read");
    await driver.fill(packed, async (node) => convert(from, { filename: placeOf(node), format: "qcow2", clusters: "zstd" }));
    const stored = await driver.stat(packed.id);
    assert.ok(stored && stored.sizeBytes > 0);
    assert.deepEqual((await bench.get(driver, packed)).subarray(0, 4), Buffer.from("QFI\xfb", "latin1"));
    await assertSameDisk(from, await driver.open(packed, "read"));
  });

  it("open() to write gives a disk of whole MiB no size of its own: a guest that has it open sees it grow", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write" || !driver.can.mutable) return;
    const disk = bench.newDisk(64 * MiB);
    await driver.create(disk);
    const sizes = (node: BlockNode): number[] => ("file" in node ? [...("size" in node && node.size !== undefined ? [node.size] : []), ...sizes(node.file)] : []);
    assert.deepEqual(sizes(await driver.open(disk, "write")), []);
  });

  it("fill() may be repeated: what is whole is not filled again", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write") return;
    const disk = bench.newDisk(MiB);
    await driver.fill(disk, (node) => bench.writeNode(node, 7, { start: 0, end: MiB }));
    await driver.fill(disk, () => assert.fail("it is filled already"));
    await bench.assertContent(driver, disk, new Uint8Array(MiB).fill(7));
  });

  it("fill() leaves nothing when what fills it fails, and passes the reason on", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write") return;
    const disk = bench.newDisk(MiB);
    const reason = new Error("the source broke");
    const work = driver.fill(disk, async (node) => {
      await bench.writeNode(node, 7, { start: 0, end: MiB });
      throw reason;
    });
    await assert.rejects(work, (error) => error === reason);
    await bench.assertGone(driver, disk.id);
  });

  it("fill() leaves nothing when it is cancelled", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write") return;
    const disk = bench.newDisk(MiB);
    await bench.rejectsWith("cancelled", () => driver.fill(disk, () => assert.fail("never called"), bench.cancelled));
    const stop = new AbortController();
    await bench.rejectsWith("cancelled", () => driver.fill(disk, async () => stop.abort(), { signal: stop.signal }));
    await bench.assertGone(driver, disk.id);
  });

  it("open() names every format and every file of the chain", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable !== "write") return;
    const bytes = bench.content(MiB, 1);
    const source = await bench.putNew(driver, bytes);
    const flat = await driver.open(source, "read");
    assert.equal(flat.driver, "raw");
    if (driver.can.clone === "none") return;
    const [middle, top] = [bench.newDisk(MiB), bench.newDisk(MiB)];
    await driver.clone(source, middle);
    await driver.clone(middle, top);
    const node = await driver.open(top, "read");
    const inFiles = flat.driver === "raw" && flat.file.driver === "file";
    if (driver.can.clone === "dependent" && inFiles) assert.ok(filesOf(node).length === 3);
    await assertSameDisk(flat, node);
  });

  it("open() shows QEMU the content, to its last byte and to several readers at once", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable === "none") return;
    for (const sizeBytes of [4 * KiB, MiB + 512, 5 * MiB + 777]) {
      const bytes = bench.content(sizeBytes, 3);
      const node = await driver.open(await bench.putNew(driver, bytes), "read");
      await Promise.all([assertShows(node, bytes), assertShows(node, bytes)]);
    }
  });

  it("open() reads what a tool has made in another pool, converted on the way", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable === "none") return;
    const bytes = bench.content(3 * MiB, 4);
    const packed = await bench.packed(bytes);
    const disk = bench.newDisk(3 * MiB, "qcow2");
    await bench.put(driver, disk, packed);
    await assertShows(await driver.open(disk, "read"), bytes);
  });

  it("open() says disk_not_found for what is not there", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable === "none") return;
    await bench.rejectsWith("disk_not_found", () => driver.open(bench.newDisk(MiB), "read"));
  });

  it("open() names the format of an image, and refuses one that no tool may open", async () => {
    await using driver = await openDriver();
    if (driver.can.addressable === "none") return;
    const drivers = { qcow2: "qcow2", vmdk: "vmdk", vhd: "vpc", vhdx: "vhdx", vdi: "vdi", iso: "raw" } as const;
    for (const [format, expected] of Object.entries(drivers)) {
      const disk = bench.newDisk(MiB, format as keyof typeof drivers);
      await bench.put(driver, disk, bench.dense(4 * KiB, 1));
      assert.equal((await driver.open(disk, "read")).driver, expected);
    }
    const opaque = bench.newDisk(0, "opaque");
    await bench.put(driver, opaque, bench.dense(4 * KiB, 1));
    await bench.rejectsWith("not_supported", () => driver.open(opaque, "read"));
  });
}

/** QEMU counts in sectors: the last one may reach beyond the disk. */
function lastSector(sizeBytes: number): ByteRange {
  const end = Math.ceil(sizeBytes / 512) * 512;
  return { start: end - 512, end };
}

/** Where the tool makes its file. */
function placeOf(node: BlockNode): NewFile["filename"] {
  assert.ok("file" in node);
  if (node.file.driver === "rbd") return node.file;
  assert.ok("filename" in node.file);
  return node.file.filename;
}

/** QEMU shows whole sectors: behind the content come zeroes. */
async function assertShows(node: BlockNode, bytes: Uint8Array): Promise<void> {
  const sizeBytes = Math.ceil(bytes.length / 512) * 512;
  const parts: Uint8Array[] = [];
  for await (const part of readNode(node, { start: 0, end: sizeBytes })) parts.push(part.slice());
  assert.equal(Buffer.compare(Buffer.concat(parts), bench.padded(bytes, sizeBytes)), 0, "QEMU shows the same bytes");
}

async function assertSameDisk(a: BlockNode, b: BlockNode): Promise<void> {
  await run("qemu-img", ["compare", "-q", ...objectArguments([a, b]), jsonFilename(a), jsonFilename(b)], { timeoutMs: 30 * SECOND_MS });
}

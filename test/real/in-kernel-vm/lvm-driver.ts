/** What only the lvm driver has, on real volume groups. Runs inside the guest of `kernel-vm.sh`: `lvm.test.ts` starts it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, open, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { LvmDriver } from "#/storage/lvm/driver.ts";
import { WATCH_MS } from "#/storage/lvm/group.ts";
import { volumeName } from "#/storage/lvm/layout.ts";
import { Lvm } from "#/tools/lvm.ts";
import { convert } from "#/tools/qemu-img.ts";
import { FOLDER, lvmConfig, makeVolumeGroup, removeVolumeGroup } from "../support/volume-group.ts";

let groups = 0;

/** A group of its own for a test, gone afterwards. */
async function withGroup(size: string, test: (group: string, lvm: Lvm) => Promise<void>): Promise<void> {
  const group = `vg-${++groups}`;
  await makeVolumeGroup(group, size);
  const failed = await test(group, new Lvm(group)).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  if (failed) throw failed.error; // What it has left open keeps the group; it ends with the guest.
  await removeVolumeGroup(group);
}

const openPool = (options: Parameters<typeof lvmConfig>[0]) => LvmDriver.open(lvmConfig(options), { isNew: true });

async function messageOf(code: AppError["code"], work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(error instanceof AppError && error.code === code, `it ended with ${error}`);
  return error.message;
}

/** Whether the bytes lie in the free space of the group. */
async function liesInFreeSpace(lvm: Lvm, bytes: Uint8Array): Promise<boolean> {
  await lvm.change("lvcreate", ["-l", "100%FREE", "-Wn", "-Zn", "-n", "probe"]);
  const found = await contains(lvm.device("probe"), bytes);
  await lvm.change("lvremove", [], "probe");
  return found;
}

async function contains(device: string, bytes: Uint8Array): Promise<boolean> {
  await using file = await open(device);
  const buffer = Buffer.alloc(4 * MiB);
  for (let at = 0; ; at += buffer.length) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (buffer.subarray(0, bytesRead).includes(bytes)) return true;
    if (bytesRead < buffer.length) return false;
  }
}

/** 4 KiB of a disk, whose like is nowhere else. */
const sample = (disk: Uint8Array): Uint8Array => disk.subarray(8 * KiB, 12 * KiB);

async function partialIds(driver: LvmDriver): Promise<string[]> {
  return (await bench.listed(driver)).flatMap(({ id, partial }) => (partial ? [id] : []));
}

describe("thick volumes", () => {
  it("are overwritten when they are deleted; cancelled in the middle, the disk is partial, and is deleted by the next call", () =>
    withGroup("200M", async (group, lvm) => {
      const driver = await openPool({ volumeGroup: group, type: "thick" });
      const bytes = bench.dense(96 * MiB, 1);
      const disk = await bench.putNew(driver, bytes);
      await bench.rejectsWith("cancelled", () => driver.delete(disk.id, bench.cancelInTheMiddle()));
      assert.equal(await driver.stat(disk.id), undefined);
      assert.deepEqual(await partialIds(driver), [disk.id]);
      const fractions: number[] = [];
      await driver.delete(disk.id, { onProgress: (fraction) => fractions.push(fraction) });
      assert.deepEqual([fractions.length, fractions.at(-1)], [3, 1]);
      assert.deepEqual(await bench.listed(driver), []);
      assert.equal(await liesInFreeSpace(lvm, sample(bytes)), false);
    }));

  it("show nothing of what was there before, though the deleted were not overwritten", () =>
    withGroup("20M", async (group, lvm) => {
      const driver = await openPool({ volumeGroup: group, type: "thick", volumeClear: "none" });
      const bytes = bench.dense(16 * MiB, 2);
      await driver.delete((await bench.putNew(driver, bytes)).id);
      assert.equal(await liesInFreeSpace(lvm, sample(bytes)), true);
      const blank = bench.newDisk(5 * MiB + 1);
      await driver.create(blank);
      await bench.assertContent(driver, blank, new Uint8Array(5 * MiB + 1));
      await driver.resize(blank, 8 * MiB);
      await bench.assertContent(driver, blank, new Uint8Array(8 * MiB));
      assert.equal(await contains(lvm.device(volumeName(blank.id)), sample(bytes)), false);
      const received = bench.newDisk(6 * MiB);
      const writer = await driver.receive(received);
      await writer.finish(6 * MiB);
      await bench.assertContent(driver, received, new Uint8Array(6 * MiB));
    }));

  it("say pool_full where the group has no more, and leave nothing", () =>
    withGroup("20M", async (group) => {
      const driver = await openPool({ volumeGroup: group, type: "thick" });
      await bench.rejectsWith("pool_full", () => driver.create(bench.newDisk(64 * MiB)));
      const stream = bench.newDisk(0, "qcow2");
      await bench.rejectsWith("pool_full", () => bench.put(driver, stream, bench.dense(4 * MiB, 1)));
      assert.deepEqual(await bench.listed(driver), []);
    }));
});

describe("thin volumes", () => {
  it("are made in a pool of the group's name where it is empty; beside others' volumes, disks are thick", () =>
    withGroup("100M", async (group, lvm) => {
      const thin = await openPool({ volumeGroup: group, type: "auto" });
      assert.equal(thin.can.clone, "independent");
      const { totalBytes } = await thin.capacity();
      assert.ok(totalBytes > 80 * MiB && totalBytes < 100 * MiB);
      await lvm.change("lvremove", [], `${group}-pool`);
      await lvm.change("lvcreate", ["-L", "4M", "-n", "others"]);
      const thick = await openPool({ volumeGroup: group, type: "auto" });
      assert.deepEqual([thick.can.clone, thick.can.snapshot], ["none", false]);
      const missing = LvmDriver.open(lvmConfig({ volumeGroup: group, type: "thin" }), { isNew: false });
      assert.match(await messageOf("pool_unavailable", missing), /has no thin pool "vg-\d+-pool"/);
      assert.match(await messageOf("pool_unavailable", openPool({ volumeGroup: "vg-none", type: "auto" })), /vg-none/);
    }));

  it("are refused in a pool whose blocks are not zeroed", () =>
    withGroup("100M", async (group, lvm) => {
      await lvm.change("lvcreate", ["--type", "thin-pool", "-L", "40M", "-Zn", "-n", "careless"]);
      const refused = openPool({ volumeGroup: group, type: "thin", thinPool: "careless" });
      assert.match(await messageOf("pool_unavailable", refused), /lvchange -Zy vg-\d+\/careless/);
    }));

  it("end at the limit of the pool's data: new ones are refused in words, those that are there go on", () =>
    withGroup("100M", async (group) => {
      const driver = await openPool({ volumeGroup: group, type: "thin", thinDataPercentMax: 10 });
      const [disk, next] = [await bench.putNew(driver, bench.dense(16 * MiB, 1)), bench.newDisk(MiB)];
      await sleep(WATCH_MS);
      const { totalBytes, freeBytes } = await driver.capacity();
      assert.ok(totalBytes - freeBytes >= 16 * MiB);
      for (const work of [() => driver.create(next), () => driver.clone(disk, bench.newDisk(16 * MiB)), () => driver.resize(disk, 32 * MiB)]) {
        assert.match(await messageOf("pool_full", work()), /% of its data space in use, and new disks end at 10 %: lvextend/);
      }
      await driver.create(disk);
      await bench.assertContent(driver, disk, bench.dense(16 * MiB, 1));
      await driver.delete(disk.id);
      await driver.create(next);
    }));

  it("say pool_full when the pool is full in the middle, and leave nothing", () =>
    withGroup("100M", async (group, lvm) => {
      await lvm.change("lvcreate", ["--type", "thin-pool", "-L", "16M", "-n", "small"]);
      await lvm.change("lvchange", ["--errorwhenfull", "y"], "small");
      const driver = await openPool({ volumeGroup: group, type: "thin", thinPool: "small" });
      const target = bench.newDisk(32 * MiB);
      const [aligned] = alignedBlocks(1, 4 * MiB) as [Uint8Array];
      aligned.set(bench.dense(4 * MiB, 1));
      for (const block of [aligned, bench.dense(4 * MiB, 1)]) { // Past the page cache, and through it.
        const writer = await driver.receive(target);
        await bench.rejectsWith("pool_full", async () => {
          for (let at = 0; at < 32 * MiB; at += block.length) await writer.write(block, at);
          await writer.finish(32 * MiB);
        });
        await writer.abort();
      }
      const source = join(FOLDER, "source");
      await writeFile(source, bench.dense(32 * MiB, 2));
      await bench.rejectsWith("pool_full", () => driver.fill(target, (node) => convert(fileNode(source, "raw"), node)));
      assert.deepEqual(await bench.listed(driver), []);
      await driver.create(target);
    }));

  it("give their space back when they are deleted, also to the disk below", () =>
    withGroup("100M", async (group, lvm) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      const bytes = bench.dense(24 * MiB, 3);
      const disk = await bench.putNew(driver, bytes);
      const clone = bench.newDisk(24 * MiB);
      await driver.clone(disk, clone);
      await driver.delete(disk.id);
      await bench.assertContent(driver, clone, bytes);
      await driver.delete(clone.id);
      const { totalBytes, freeBytes } = await driver.capacity();
      assert.equal(freeBytes, totalBytes);
      await lvm.change("lvchange", ["-an"], `${group}-pool`);
      await lvm.change("lvremove", [], `${group}-pool`);
      assert.equal(await liesInFreeSpace(lvm, sample(bytes)), false);
    }));

  it("are read and opened again after all of the group was deactivated, as after a restart of the machine", () =>
    withGroup("100M", async (group, lvm) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      const bytes = bench.dense(MiB, 4);
      const disk = await bench.putNew(driver, bytes);
      await lvm.change("lvchange", ["-an"], volumeName(disk.id));
      await bench.assertContent(driver, disk, bytes);
      await lvm.change("lvchange", ["-an"], volumeName(disk.id));
      await bench.writeNode(await driver.open(disk, "write"), 9, { start: 0, end: 4 * KiB });
    }));

  it("grow without showing what lay behind their odd end", () =>
    withGroup("100M", async (group) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      const bytes = bench.dense(MiB + 100, 5);
      const disk = await bench.putNew(driver, bytes);
      await bench.writeNode(await driver.open(disk, "write"), 9, { start: MiB, end: MiB + 512 });
      bytes.fill(9, MiB);
      const clone = bench.newDisk(2 * MiB);
      await driver.clone(disk, clone);
      await bench.assertContent(driver, clone, bench.padded(bytes, 2 * MiB));
      await driver.resize(disk, MiB + 300);
      await bench.assertContent(driver, disk, bench.padded(bytes, MiB + 300));
    }));
});

describe("a volume group with others' volumes", () => {
  it("keeps them as they are, whatever they are called", () =>
    withGroup("100M", async (group, lvm) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      const disk = bench.newDisk(MiB);
      await lvm.change("lvcreate", ["-L", "4M", "-n", volumeName(disk.id)]);
      await driver.delete(disk.id);
      assert.match(await messageOf("conflict", driver.create(disk)), /already exists/);
      assert.match(await messageOf("conflict", driver.receive(disk)), /already exists/);
      await bench.assertGone(driver, disk.id);
      assert.equal((await lvm.volumes(`lv_name=${volumeName(disk.id)}`)).length, 1);
    }));

  it("is looked for as the pool's own lvm.conf says", () =>
    withGroup("20M", async (group) => {
      const confPath = join(FOLDER, "conf", "lvm.conf");
      await mkdir(dirname(confPath));
      await copyFile("/etc/lvm/lvm.conf", confPath);
      await openPool({ volumeGroup: group, type: "thick", confPath });
      await writeFile(confPath, 'devices { use_devicesfile=0 filter=["r|.*|"] }\n');
      assert.match(await messageOf("pool_unavailable", openPool({ volumeGroup: group, type: "thick", confPath })), /not found/);
    }));

  it("refuses to delete a disk that somebody has open, and leaves it whole", () =>
    withGroup("100M", async (group, lvm) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      const disk = await bench.putNew(driver, bench.dense(MiB, 1));
      const guest = await open(lvm.device(volumeName(disk.id)));
      assert.match(await messageOf("conflict", driver.delete(disk.id)), /is in use/);
      await guest.close();
      await bench.assertContent(driver, disk, bench.dense(MiB, 1));
      await driver.delete(disk.id);
    }));
});

describe("a call of LVM's that is killed", () => {
  it("leaves a whole disk, a partial one or none, and its source usable, whenever the kill comes", () =>
    withGroup("100M", async (group) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      let bytes = bench.dense(MiB, 6);
      const source = await bench.putNew(driver, bytes);
      for (const afterMs of [50, 100, 200, 300]) {
        const clone = bench.newDisk(2 * MiB);
        await killedClone(`${group}/${volumeName(source.id)}`, clone, afterMs);
        await driver.clone(source, clone);
        await bench.assertContent(driver, clone, bench.padded(bytes, 2 * MiB));
        bytes = await bench.scribble(driver, source, bytes, afterMs % 251);
        await driver.delete(clone.id);
      }
      assert.deepEqual((await bench.listed(driver)).map(({ id }) => id), [source.id]);
    }));

  it("leaves, in the middle of filling, partial work that is listed and can be deleted", () =>
    withGroup("100M", async (group) => {
      const driver = await openPool({ volumeGroup: group, type: "thin" });
      const disk = bench.newDisk(2 * MiB);
      const deserted = await driver.receive(disk);
      await deserted.write(bench.dense(MiB, 1), 0);
      const other = await openPool({ volumeGroup: group, type: "thin" });
      assert.deepEqual(await partialIds(other), [disk.id]);
      assert.equal(await other.stat(disk.id), undefined);
      await bench.rejectsWith("conflict", () => other.delete(disk.id));
      await deserted.abort();
      await other.delete(disk.id);
      await bench.assertGone(other, disk.id);
    }));
});

/** What the driver would run, ended by SIGKILL after a while. */
async function killedClone(source: string, { id, virtualSizeBytes }: ReturnType<typeof bench.newDisk>, afterMs: number): Promise<void> {
  const tags = ["--addtag", "mica", "--addtag", `mica.size=${virtualSizeBytes}`];
  const child = spawn("lvcreate", ["-qq", "-y", "-s", "-kn", "-n", volumeName(id), ...tags, source], { stdio: "ignore" });
  const ended = once(child, "exit");
  await sleep(afterMs);
  child.kill("SIGKILL");
  await ended;
}

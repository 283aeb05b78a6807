/** The nfs driver on an export of ext4, which shares no blocks. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { contractOfCloning } from "#/storage/contract/cloning.ts";
import { contractOfSnapshots } from "#/storage/contract/snapshots.ts";
import { NfsDriver } from "#/storage/nfs/driver.ts";
import { NfsServer, sentMeanwhile } from "../support/nfs-server.ts";

const server = await NfsServer.start(["ext4", "xfs"]);
const ext4 = await server.mount("ext4");

const openPool = async (mount = ext4) => NfsDriver.open(await mkdtemp(join(mount, "pool-")));

describe("an export of ext4", () => {
  it("copies by the server: COPY, and no byte is read or written", async () => {
    const driver = await openPool();
    assert.deepEqual([driver.can.clone, driver.can.offloadCopy], ["dependent", true]);
    assert.match(driver.can.why.clone ?? "", /no CLONE/);
    const source = await bench.putNew(driver, bench.dense(16 * MiB, 1));
    const copy = bench.newDisk(16 * MiB);
    const { COPY = 0, ...others } = await sentMeanwhile(ext4, () => driver.copy(source, copy));
    assert.ok(COPY > 0);
    assert.deepEqual(others, { CLONE: 0, READ: 0, WRITE: 0 });
    await bench.assertContent(driver, copy, bench.dense(16 * MiB, 1));
  });

  it("mounted with version 4.1 says that it copies nothing by itself", async () => {
    const driver = await openPool(await server.mount("ext4", "hard,nosharecache", "4.1"));
    assert.deepEqual([driver.can.clone, driver.can.offloadCopy], ["dependent", false]);
    assert.match(driver.can.why.offloadCopy ?? "", /no NFSv4\.2 COPY \(mounted with version 4\.1\)/);
    await bench.assertContent(driver, await bench.putNew(driver, bench.dense(MiB, 1)), bench.dense(MiB, 1));
  });
});

describe("pools on two exports of one server", () => {
  it("copy from one to the other by the server, no byte is read or written", async () => {
    const mount = await server.mount("xfs");
    const [images, volumes] = [await openPool(ext4), await openPool(mount)];
    assert.equal(images.can.copyPlace, volumes.can.copyPlace);
    assert.notEqual(images.can.place, volumes.can.place);
    const [image, volume] = [await bench.putNew(images, bench.dense(16 * MiB, 1)), bench.newDisk(32 * MiB)];
    const source = { ...image, location: images.locate(image) };
    await bench.rejectsWith("not_supported", () => volumes.clone(source, volume));
    const read = await sentMeanwhile(ext4, async () => {
      const { COPY = 0, ...others } = await sentMeanwhile(mount, () => volumes.copy(source, volume));
      assert.ok(COPY > 0);
      assert.deepEqual(others, { CLONE: 0, READ: 0, WRITE: 0 });
    });
    assert.deepEqual(read, { CLONE: 0, COPY: 0, READ: 0, WRITE: 0 });
    await bench.assertContent(volumes, volume, bench.padded(bench.dense(16 * MiB, 1), 32 * MiB));
  });
});

describe("a pool of two exports", () => {
  it("puts new disks where most room is, and clones where their source is", async () => {
    const [roomy, small] = [await mkdtemp(join(await server.mount("xfs"), "pool-")), await mkdtemp(join(ext4, "pool-"))];
    const driver = await NfsDriver.open(small, { shares: [roomy] });
    assert.equal(driver.can.clone, "dependent", "as the weaker one");
    const [disk, clone] = [await bench.putNew(driver, bench.dense(MiB, 1)), bench.newDisk(MiB)];
    await driver.clone(disk, clone);
    const onRoomy = await NfsDriver.open(roomy);
    for (const { id } of [disk, clone]) assert.ok(await onRoomy.stat(id));
    assert.equal((await driver.capacity()).totalBytes, (await onRoomy.capacity()).totalBytes + (await (await NfsDriver.open(small)).capacity()).totalBytes);
    await bench.assertContent(driver, clone, bench.dense(MiB, 1));
  });
});

describe("NfsDriver on an export of ext4 keeps the storage driver contract, where it differs from XFS", () => {
  contractOfCloning(() => openPool());
  contractOfSnapshots(() => openPool());
});

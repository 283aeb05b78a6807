/** The nfs driver on an export of XFS that is really mounted. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import assert from "node:assert/strict";
import { mkdtemp, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, it } from "node:test";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { DiskWriter } from "#/storage/driver.ts";
import { NfsDriver, type NfsOptions } from "#/storage/nfs/driver.ts";
import { NfsServer, sentMeanwhile } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs"]);
const xfs = await server.mount("xfs");

const openPool = async (mount = xfs, options: NfsOptions = {}) => NfsDriver.open(await mkdtemp(join(mount, "pool-")), options);

describe("an export of XFS", () => {
  it("clones by the server: one CLONE, and no byte is read or written", async () => {
    const driver = await openPool();
    assert.equal(driver.can.clone, "independent");
    assert.match(driver.can.why.clone ?? "", /^127\.0\.0\.1:\/xfs: NFSv4\.2 CLONE works/);
    const source = await bench.putNew(driver, bench.dense(16 * MiB, 1));
    const clone = bench.newDisk(16 * MiB);
    assert.deepEqual(await sentMeanwhile(xfs, () => driver.clone(source, clone)), { CLONE: 1, COPY: 0, READ: 0, WRITE: 0 });
    await bench.assertContent(driver, clone, bench.dense(16 * MiB, 1));
  });
});

describe("an image that the image store has on the export", () => {
  it("is cloned where it lies, by either of its locations", async () => {
    const [store, metadataPath] = [await mkdtemp(join(xfs, "glance-")), "/tmp/metadata.json"];
    await writeFile(join(store, "cirros"), bench.dense(MiB, 1));
    const onServer = `nfs://127.0.0.1/xfs/${basename(store)}`;
    await writeFile(metadataPath, JSON.stringify({ share_location: onServer, mountpoint: "/var/lib/glance/images", type: "nfs" }));
    const driver = await openPool(xfs, { metadataPath });
    for (const location of ["file:///var/lib/glance/images/cirros", `${onServer}/cirros`]) {
      const [image, volume] = [{ ...bench.newDisk(MiB), location }, bench.newDisk(2 * MiB)];
      assert.equal(driver.locate(image), `file://${store}/cirros`);
      assert.deepEqual(await sentMeanwhile(xfs, () => driver.clone(image, volume)), { CLONE: 1, COPY: 0, READ: 0, WRITE: 0 });
      await bench.assertContent(driver, volume, bench.padded(bench.dense(MiB, 1), 2 * MiB));
    }
  });
});

describe("a server that goes away", () => {
  const ANSWER_MS = 2 * SECOND_MS;

  it("answers within its time limit that the pool is unavailable, though the kernel waits for ever, and all is well when it is back", async () => {
    const driver = await openPool(await server.mount("xfs", "hard,nosharecache"), { answerTimeoutMs: ANSWER_MS });
    const bytes = bench.dense(MiB, 1);
    const [source, unfinished] = [await bench.putNew(driver, bytes), bench.newDisk(8 * MiB)];
    const writer = await driver.receive(unfinished);
    await server.pause();
    const writing = assert.rejects(writeUntilItFails(writer), { code: "pool_unavailable" });
    await bench.rejectsWith("pool_unavailable", async () => {
      for (;;) await driver.stat(source.id);
    });
    await assert.rejects(driver.clone(source, bench.newDisk(MiB)), /the server of \/mnt\/xfs-\w+ is away: no answer in 2 s \(it is mounted hard/);
    await writing;
    await server.resume();
    await bench.assertContent(driver, source, bytes);
    await writer.abort();
    await bench.assertGone(driver, unfinished.id);
  });

  it("fails by itself on a soft mount, and the pool is unavailable", async () => {
    const driver = await openPool(await server.mount("xfs", "softerr,timeo=10,retrans=1,nosharecache"), { answerTimeoutMs: 30 * SECOND_MS });
    await server.pause();
    await bench.rejectsWith("pool_unavailable", async () => {
      for (;;) await driver.create(bench.newDisk(MiB));
    });
    await server.resume();
    await server.endGrace();
    await driver.create(bench.newDisk(MiB));
  });

  it("keeps a pool from opening, and nobody waiting for it", async () => {
    const folder = await mkdtemp(join(await server.mount("xfs", "hard,nosharecache"), "pool-"));
    await server.pause();
    await bench.rejectsWith("pool_unavailable", () => NfsDriver.open(folder, { answerTimeoutMs: ANSWER_MS }));
    await server.resume();
    await server.endGrace();
    await NfsDriver.open(folder);
  });
});

async function writeUntilItFails(writer: DiskWriter): Promise<void> {
  for (let block = 0; ; block = (block + 1) % 8) await writer.write(bench.dense(MiB, block), block * MiB);
}

storageDriverContract("NfsDriver on an export of XFS", () => openPool());

/** The nfs driver on exports that are really mounted. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { NfsDriver } from "#/storage/nfs/driver.ts";
import { operationCounts } from "#/storage/nfs/mount-stats.ts";
import { NfsServer } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs", "ext4"]);
const xfs = await server.mount("xfs");
const ext4 = await server.mount("ext4");

const openPool = async (mount: string) => NfsDriver.open(await mkdtemp(join(mount, "pool-")));

/** How often each of the operations went over the wire meanwhile. */
async function sent(mount: string, names: readonly string[], work: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await operationCounts(mount);
  await work();
  const after = await operationCounts(mount);
  return Object.fromEntries(names.map((name) => [name, (after.get(name) ?? 0) - (before.get(name) ?? 0)]));
}

describe("an export of XFS", () => {
  it("clones by the server: one CLONE, and no byte is read or written", async () => {
    const driver = await openPool(xfs);
    assert.equal(driver.can.clone, "independent");
    assert.match(driver.can.why.clone ?? "", /^127\.0\.0\.1:\/xfs: NFSv4\.2 CLONE works/);
    const source = await bench.putNew(driver, bench.dense(16 * MiB, 1));
    const clone = bench.newDisk(16 * MiB);
    assert.deepEqual(await sent(xfs, ["CLONE", "COPY", "READ", "WRITE"], () => driver.clone(source, clone)), { CLONE: 1, COPY: 0, READ: 0, WRITE: 0 });
    await bench.assertContent(driver, clone, bench.dense(16 * MiB, 1));
  });
});

describe("an export of ext4", () => {
  it("copies by the server: COPY, and no byte is read or written", async () => {
    const driver = await openPool(ext4);
    assert.deepEqual([driver.can.clone, driver.can.offloadCopy], ["dependent", true]);
    assert.match(driver.can.why.clone ?? "", /no CLONE/);
    const source = await bench.putNew(driver, bench.dense(16 * MiB, 1));
    const copy = bench.newDisk(16 * MiB);
    const { COPY = 0, ...others } = await sent(ext4, ["CLONE", "COPY", "READ", "WRITE"], () => driver.copy(source, copy));
    assert.ok(COPY > 0);
    assert.deepEqual(others, { CLONE: 0, READ: 0, WRITE: 0 });
    await bench.assertContent(driver, copy, bench.dense(16 * MiB, 1));
  });
});

storageDriverContract("NfsDriver on an export of XFS", () => openPool(xfs));

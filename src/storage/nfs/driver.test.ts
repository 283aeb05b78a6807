import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { KiB, MiB } from "#/lib/units.ts";
import { assertContent, assertGone, dense, listed, newDisk, put, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { NfsDriver, type NfsOptions } from "#/storage/nfs/driver.ts";

/** In folders of this machine: the same code without a server. `test/real/nfs.test.ts` has the real ones. */
const root = await mkdtemp(join(tmpdir(), "mica-nfs-driver-"));
after(() => rm(root, { recursive: true, force: true }));

const folder = () => mkdtemp(join(root, "share-"));

async function openPool(options: NfsOptions = {}) {
  const [first, second] = [await folder(), await folder()];
  const driver = await NfsDriver.open(first, { allowLocal: true, shares: [second], ...options });
  return { driver, first, second };
}

storageDriverContract("NfsDriver with two shares in local folders", async () => (await openPool()).driver);

describe("NfsDriver", () => {
  it("refuses a folder that is not mounted from a server, and makes nothing there", async () => {
    const path = join(root, "not-mounted");
    await rejectsWith("pool_unavailable", () => NfsDriver.open(path, { claim: { pool: "shared", isNew: true } }));
    assert.ok(!(await readdir(root)).includes("not-mounted"));
  });

  it("marks every share as the pool's, also one that is added later, and refuses another pool's", async () => {
    const [first, second, third] = [await folder(), await folder(), await folder()];
    const open = (path: string, shares: string[], pool: string, isNew: boolean) =>
      NfsDriver.open(path, { allowLocal: true, shares, claim: { pool, isNew } });
    await open(first, [], "one", true);
    await open(first, [second], "one", false);
    await rejectsWith("pool_unavailable", () => open(third, [second], "other", true));
  });

  it("finds disks on whichever share they are, and clones them there", async () => {
    const { driver, second } = await openPool();
    const bytes = dense(MiB, 1);
    const alone = await NfsDriver.open(second, { allowLocal: true });
    const [source, clone] = [await putNew(alone, bytes), newDisk(MiB)];
    await assertContent(driver, source, bytes);
    await driver.clone(source, clone);
    await assertContent(alone, clone, bytes);
    assert.equal(driver.locate(source), pathToFileURL(join(second, `${source.id}.disk`)).href);
    await driver.delete(clone.id);
    await driver.delete(source.id);
    assert.deepEqual(await listed(alone), []);
  });

  it("makes a disk again where it is already, and removes what a dead attempt left on another share", async () => {
    const { driver, first, second } = await openPool();
    const [disk, other] = [newDisk(KiB), newDisk(KiB)];
    const alone = await NfsDriver.open(second, { allowLocal: true });
    await put(alone, disk, dense(KiB, 1));
    await put(driver, disk, dense(KiB, 2));
    await assertContent(alone, disk, dense(KiB, 2));
    for (const path of [first, second]) await writeFile(join(path, `${other.id}.partial`), "half of it");
    await put(driver, other, dense(KiB, 3));
    assert.deepEqual((await listed(driver)).filter(({ partial }) => partial), []);
    await driver.delete(other.id);
    await assertGone(driver, other.id);
  });

  it("counts the room of one file system once", async () => {
    const { driver, first } = await openPool();
    const alone = await NfsDriver.open(first, { allowLocal: true });
    assert.equal((await driver.capacity()).totalBytes, (await alone.capacity()).totalBytes);
  });

  it("clones an image of the store whose paths the metadata file translates, and leaves it alone", async () => {
    const [images, metadataPath] = [await folder(), join(root, "metadata.json")];
    await writeFile(join(images, "cirros"), dense(MiB, 1));
    await writeFile(metadataPath, JSON.stringify({ id: "s", share_location: "nfs://10.0.0.1/images", mountpoint: "/var/lib/glance", type: "nfs" }));
    const { driver } = await openPool({ metadataPath });
    const image = { ...newDisk(MiB), location: pathToFileURL(join(images, "cirros")).href };
    const [clone, copy] = [newDisk(2 * MiB), newDisk(MiB)];
    assert.equal((await driver.stat(image.id, image.location))?.sizeBytes, MiB);
    assert.equal(driver.locate(image), image.location);
    await driver.copy(image, copy);
    await assertContent(driver, copy, dense(MiB, 1));
    if (driver.can.clone === "independent") await driver.clone(image, clone);
    await driver.delete(image.id);
    assert.deepEqual(await readdir(images), ["cirros"]);
    for (const location of ["nfs://10.0.0.9/images/cirros", "file:///var/lib/glance/cirros", "file:///proc/version"]) {
      await rejectsWith("not_supported", () => driver.stat(image.id, location));
      assert.equal(driver.locate({ id: image.id, location }), location);
    }
  });

  it("refuses a metadata file that is none", async () => {
    const path = join(root, "broken.json");
    for (const text of ["", "{}", '[{"share_location":"nfs://h/e","mountpoint":"relative","type":"nfs"}]']) {
      await writeFile(path, text);
      await rejectsWith("config_invalid", () => openPool({ metadataPath: path }));
    }
  });

  it("says why", async () => {
    const { driver, first } = await openPool();
    assert.match(driver.can.place, /^nfs:/);
    assert.match(driver.can.why.offloadCopy ?? "", /local folder, where the kernel copies/);
    await mkdir(join(first, "subfolder"));
    assert.deepEqual(await listed(driver), []);
  });
});

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { contractOfCloning } from "#/storage/contract/cloning.ts";
import { neighboursContract } from "#/storage/contract/neighbours.ts";
import { contractOfSnapshots } from "#/storage/contract/snapshots.ts";
import { sharedCeph } from "./support/ceph.ts";
import { rbdPools } from "./support/rbd-pools.ts";

const ceph = await sharedCeph();
after(() => ceph[Symbol.asyncDispose]());
const pools = rbdPools(ceph);

const SMALL_OBJECTS = { objectSizeBytes: 64 * KiB };

neighboursContract("rbd", async () => {
  const [from, to] = [await pools.open({ ...SMALL_OBJECTS, pool: "images" }), await pools.open(SMALL_OBJECTS)];
  return { from, to, [Symbol.asyncDispose]: async () => void (await Promise.all([from, to].map((pool) => pool[Symbol.asyncDispose]()))) };
});

describe("rbd with clones of format 1 keeps what the contract says of them", () => {
  const openDriver = () => pools.open({ ...SMALL_OBJECTS, cloneFormat: 1 });
  contractOfCloning(openDriver);
  contractOfSnapshots(openDriver);
});

describe("changes on Ceph", () => {
  for (const cloneFormat of [1, 2]) {
    it(`are known across pools, to a user who may only read the other one, with clones of format ${cloneFormat}`, async () => {
      await using images = await pools.openWhole({ cloneFormat, pool: "images", user: "images" });
      await using volumes = await pools.openWhole({ cloneFormat, user: "volumes" });
      const [image, volume] = [bench.newDisk(16 * MiB), bench.newDisk(64 * MiB)];
      await bench.put(images, { ...image, frozen: true }, bench.dense(16 * MiB, 1));
      const there = { ...image, location: images.locate(image) };
      await volumes.clone(there, volume);
      await bench.writeNode(await volumes.open(volume, "write"), 7, { start: 21 * MiB, end: 22 * MiB });
      const changes = await Array.fromAsync(volumes.changes(there, volume, { start: 0, end: 64 * MiB }));
      assert.deepEqual(changes, [{ start: 20 * MiB, end: 24 * MiB }]);
      await volumes.delete(volume.id);
      await images.delete(image.id);
    });
  }

  it("are not known where the maps were lost, and it is said so", async () => {
    await using driver = await pools.open(SMALL_OBJECTS);
    const [base, volume, snapshot] = [await bench.putNew(driver, bench.dense(MiB, 1)), bench.newDisk(MiB), bench.newDisk(MiB)];
    await driver.clone(base, volume);
    await driver.snapshot(volume, snapshot);
    await driver.flatten(volume);
    await assert.rejects(Array.fromAsync(driver.changes(snapshot, volume, { start: 0, end: MiB })), /the object map of .* was lost/);
  });
});

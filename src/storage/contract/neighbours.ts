import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import type { NewDisk, StorageDriver, StoredRef } from "#/storage/driver.ts";

/** Two empty pools of one place, and what ends them. */
export interface Neighbours extends AsyncDisposable {
  readonly from: StorageDriver;
  readonly to: StorageDriver;
}

/** The tests that every driver passes whose pools can share a place: clones and copies from one pool into the other. */
export function neighboursContract(name: string, open: () => Promise<Neighbours>): void {
  describe(`${name} shares bytes between pools of one place`, () => {
    it("they say that they are of one place", async () => {
      await using pools = await open();
      assert.equal(pools.from.can.place, pools.to.can.place);
    });

    it("clone() takes a source of the other pool, makes the target larger, and keeps both apart", async () => {
      await using pools = await open();
      const { from, to } = pools;
      const bytes = bench.content(MiB, 1);
      const source = await bench.putNew(from, bytes);
      const target = bench.newDisk(2 * MiB);
      const lineage = await to.clone(located(from, source), target);
      assert.equal(lineage.target, to.can.clone === "dependent" ? source.id : undefined);
      const clone = { ...target, parent: lineage.target };
      await bench.assertContent(to, clone, bench.padded(bytes, 2 * MiB));
      assert.equal(await from.stat(target.id), undefined);
      assert.equal(await to.stat(source.id), undefined);
      if (to.can.addressable === "write") {
        const after = await bench.scribble(to, clone, bench.padded(bytes, 2 * MiB), 9);
        await bench.assertContent(to, clone, after);
      }
      await bench.assertContent(from, source, bytes);
    });

    it("clone() across pools may be repeated, and the clone can be made independent of the source", async () => {
      await using pools = await open();
      const { from, to } = pools;
      const bytes = bench.content(MiB, 2);
      const source = await bench.putNew(from, bytes);
      const target = bench.newDisk(MiB);
      const first = await to.clone(located(from, source), target);
      assert.deepEqual(await to.clone(located(from, source), target), first);
      await to.flatten({ ...target, parent: first.target });
      await from.delete(source.id);
      await bench.assertContent(to, target, bytes);
    });

    it("copy() across pools stands alone", async () => {
      await using pools = await open();
      const { from, to } = pools;
      if (!to.can.offloadCopy) return;
      const bytes = bench.content(MiB + 512, 3);
      const source = await bench.putNew(from, bytes);
      const target = bench.newDisk(2 * MiB);
      await to.copy(located(from, source), target);
      await from.delete(source.id);
      await bench.assertContent(to, target, bench.padded(bytes, 2 * MiB));
      assert.equal((await to.stat(target.id))?.parent, undefined);
    });

    it("a source that is not there is disk_not_found, and leaves nothing", async () => {
      await using pools = await open();
      const { from, to } = pools;
      const target = bench.newDisk(MiB);
      await bench.rejectsWith("disk_not_found", () => to.clone(located(from, bench.newDisk(MiB)), target));
      if (to.can.offloadCopy) await bench.rejectsWith("disk_not_found", () => to.copy(located(from, bench.newDisk(MiB)), target));
      await bench.assertGone(to, target.id);
    });
  });
}

function located(pool: StorageDriver, disk: NewDisk & StoredRef): StoredRef {
  return { ...disk, location: pool.locate(disk) };
}

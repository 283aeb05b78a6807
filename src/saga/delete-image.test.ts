import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { insertCacheEntry } from "#/db/cache-entries.ts";
import { findDisk, insertDisk, setDiskReady } from "#/db/disks.ts";
import { removeImage } from "#/db/images.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const POOL = poolName("fast");

/** An image with bytes and a cache entry, whose record has just been removed. */
async function deletedImage(world: SagaWorld) {
  const imageId = await world.addImage(someContent(MiB));
  const cached = diskId(randomUUID());
  const disk = { id: cached, pool: POOL, format: "raw", virtualSizeBytes: MiB, holder: { kind: "cache", id: imageId } } as const;
  await world.services.pools.get(POOL).create(disk);
  await insertDisk(world.db, disk, { reservedBytes: 0, nowMs: 0 });
  await setDiskReady(world.db, cached);
  const row = {
    image_id: imageId,
    pool: POOL,
    disk_id: cached,
    state: "ready",
    filled_by: randomUUID(),
    size_bytes: 0,
    hits: 0,
    created_at: 0,
    last_used_at: 0,
  } as const;
  await insertCacheEntry(world.db, row);
  await removeImage(world.db, imageId);
  return { imageId, diskId: imageId };
}

async function assertGone(world: SagaWorld): Promise<void> {
  assert.deepEqual(await world.db.selectFrom("disk").selectAll().execute(), []);
  assert.deepEqual(await world.db.selectFrom("cache_entry").selectAll().execute(), []);
  assert.deepEqual(await Array.fromAsync(world.services.pools.get(POOL).list()), []);
  await world.assertAuditClean();
}

/** A deletion is never taken back: undone is done. */
sagaContract("deleteImage", deleteImage, async () => {
  const world = await SagaWorld.open();
  return {
    context: world.context(await deletedImage(world)),
    assertDone: () => assertGone(world),
    assertClean: () => assertGone(world),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("deleteImage", () => {
  it("leaves the bytes to those that read through them", async () => {
    await using world = await SagaWorld.open();
    const params = await deletedImage(world);
    const clone = diskId(randomUUID());
    const disk = {
      id: clone,
      pool: POOL,
      format: "raw",
      virtualSizeBytes: MiB,
      parent: diskId(params.diskId),
      holder: { kind: "volume", id: clone },
    } as const;
    await world.services.pools.get(POOL).clone({ ...disk, id: diskId(params.diskId), parent: undefined }, disk);
    await insertDisk(world.db, disk, { reservedBytes: 0, nowMs: 0 });
    await setDiskReady(world.db, clone);
    await runSaga(deleteImage, world.context(params), new MemoryJournal());
    assert.equal((await findDisk(world.db, diskId(params.diskId)))?.holder.kind, "ancestor");
    assert.equal(await findDisk(world.db, clone).then((found) => found?.parent), params.diskId);
  });

  it("does nothing for an image that had no bytes", async () => {
    await using world = await SagaWorld.open();
    const outcome = await runSaga(deleteImage, world.context({ imageId: randomUUID(), diskId: null }), new MemoryJournal());
    assert.deepEqual(outcome, { ended: "done" });
    await assertGone(world);
  });
});

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { findImage } from "#/db/images.ts";
import { poolUsage } from "#/db/disks.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { type UploadImage, uploadImage } from "#/saga/upload-image.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const POOL = poolName("fast");
const DISK = "22222222-2222-4222-8222-222222222222";

async function* chunksOf(content: Buffer, chunkBytes = 100_000): AsyncIterable<Uint8Array> {
  for (let at = 0; at < content.length; at += chunkBytes) yield content.subarray(at, at + chunkBytes);
}

async function savingImage(world: SagaWorld): Promise<UploadImage> {
  const imageId = await world.addQueuedImage();
  await world.db.updateTable("image").set({ status: "saving" }).execute();
  return { imageId, diskId: DISK, pool: POOL, format: "raw", packed: null, diskFormat: "raw", sizeBytes: null, sizeBytesMax: 64 * MiB };
}

async function assertQueued(world: SagaWorld, imageId: string): Promise<void> {
  const image = await findImage(world.db, imageId);
  assert.deepEqual([image?.status, image?.disk_id, image?.size_bytes, image?.hash_value], ["queued", null, null, null]);
  assert.equal(await world.services.pools.get(POOL).stat(diskId(DISK)), undefined);
  assert.deepEqual(await poolUsage(world.db, POOL), { provisionedBytes: 0, reservedBytes: 0 });
  await world.assertAuditClean();
}

for (const sizeBytes of [null, MiB]) {
  sagaContract(`uploadImage of ${sizeBytes === null ? "an unknown" : "a known"} size`, uploadImage, async () => {
    const world = await SagaWorld.open();
    const content = someContent(MiB);
    const params = { ...(await savingImage(world)), sizeBytes };
    return {
      context: { ...world.context(params), open: () => chunksOf(content) },
      async assertDone() {
        const image = await findImage(world.db, params.imageId);
        assert.deepEqual([image?.status, image?.disk_id, image?.size_bytes, image?.virtual_size_bytes], ["active", DISK, MiB, MiB]);
        assert.equal(image?.hash_value, createHash("sha512").update(content).digest("hex"));
        assert.deepEqual(await world.content(DISK, MiB), content);
        assert.deepEqual(await poolUsage(world.db, POOL), { provisionedBytes: MiB, reservedBytes: 0 });
        await world.assertAuditClean();
      },
      assertClean: () => assertQueued(world, params.imageId),
      isShown: async () => (await findImage(world.db, params.imageId))?.status === "active",
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

describe("uploadImage", () => {
  it("is undone by the process that finds it in the middle, since the body is lost", async () => {
    await using world = await SagaWorld.open();
    const params = await savingImage(world);
    const journal = new MemoryJournal([
      { step: "reserve", event: "started" },
      { step: "reserve", event: "done" },
      { step: "receive", event: "started" },
    ]);
    const outcome = await runSaga(uploadImage, world.context(params), journal);
    assert.equal(outcome.ended === "undone" && outcome.because.code, "interrupted");
    await assertQueued(world, params.imageId);
  });

  it("ends at once when it is cancelled while the client is silent", async () => {
    await using world = await SagaWorld.open();
    const params = await savingImage(world);
    const stop = new AbortController();
    const open = async function* () {
      yield Buffer.alloc(10);
      setTimeout(() => stop.abort(new Error("enough")), 5);
      await new Promise(() => {});
    };
    const outcome = await runSaga(uploadImage, { ...world.context(params), open }, new MemoryJournal(), { signal: stop.signal });
    assert.equal(outcome.ended, "undone");
    await assertQueued(world, params.imageId);
  });

  it("keeps nothing where the image was deleted meanwhile", async () => {
    await using world = await SagaWorld.open();
    const params = await savingImage(world);
    const open = async function* () {
      yield Buffer.alloc(10);
      await world.db.deleteFrom("image").execute();
    };
    const outcome = await runSaga(uploadImage, { ...world.context(params), open }, new MemoryJournal());
    assert.equal(outcome.ended === "undone" && outcome.because.code, "gone");
    assert.equal(await world.services.pools.get(POOL).stat(diskId(DISK)), undefined);
    await world.assertAuditClean();
  });
});

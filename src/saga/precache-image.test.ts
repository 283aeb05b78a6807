import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { precacheImage } from "#/saga/precache-image.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

/** An image in the pool `from`, and a plan for a disk in the pool `fast`. */
async function withImage(from: "fast" | "slow") {
  const world = await SagaWorld.open({ sagas: [fillCache, precacheImage] });
  const imageId = await world.addImage(someContent(), { pool: from });
  const plan = await world.planVolume({ kind: "image", id: imageId }, MiB);
  const entries = () => world.db.selectFrom("cache_entry").select(["image_id", "state"]).execute();
  return { world, imageId, plan, entries };
}

sagaContract("precacheImage", precacheImage, async () => {
  const { world, imageId, plan, entries } = await withImage("slow");
  return {
    context: world.context({ imageId }, plan),
    async assertDone() {
      assert.deepEqual((await entries()).map((entry) => ({ ...entry })), [{ image_id: imageId, state: "ready" }]);
      await world.assertAuditClean();
    },
    async assertClean() {
      await world.settle();
      await world.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

describe("precacheImage", () => {
  it("keeps no second copy of an image that is cloned where it lies", async () => {
    const { world, imageId, plan, entries } = await withImage("fast");
    await using _ = world;
    const meta = { projectId: null, userId: null, requestId: "req-1", subject: { kind: "image", id: imageId }, plan };
    assert.equal((await world.runner.run(await world.runner.begin(world.db, precacheImage, { imageId }, meta))).state, "done");
    assert.deepEqual(await entries(), []);
  });
});

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { uploadVolume } from "#/saga/upload-volume.ts";
import { SagaWorld, type SagaWorldOptions, someContent } from "../../test/support/saga-world.ts";

const content = someContent();
const sha512 = createHash("sha512").update(content).digest("hex");

const FLOWS: readonly { strategy: string; options: SagaWorldOptions }[] = [
  { strategy: "adopt", options: { clone: "dependent" } },
  { strategy: "clone", options: { clone: "independent" } },
  { strategy: "offload_copy", options: { clone: "dependent", cloneDepthMax: 0 } },
];

async function uploading(options: SagaWorldOptions) {
  const world = await SagaWorld.open({ ...options, sagas: [hashImage, flattenDisk] });
  const volumeId = await world.addVolume({}, content);
  const plan = await world.planImage(volumeId, "raw");
  await world.db.updateTable("volume").set({ status: "uploading" }).where("id", "=", volumeId).execute();
  const imageId = await world.addQueuedImage();
  return { world, volumeId, imageId, plan, context: world.context({ volumeId, imageId, previousStatus: "available" }, plan) };
}

for (const { strategy, options } of FLOWS) {
  sagaContract(`uploadVolume by ${strategy}`, uploadVolume, async () => {
    const { world, volumeId, imageId, plan, context } = await uploading(options);
    assert.equal(plan.strategy, strategy);
    const volumeIsWhole = async () => {
      assert.equal((await world.volume(volumeId))?.status, "available");
      assert.deepEqual(await world.content(volumeId, MiB), content);
      await world.assertAuditClean();
    };
    return {
      context,
      async assertDone() {
        await world.settle();
        const image = await world.image(imageId);
        assert.deepEqual([image?.status, image?.size_bytes, image?.virtual_size_bytes, image?.hash_value], ["active", MiB, MiB, sha512]);
        assert.deepEqual(await world.content(image?.disk_id, MiB), content);
        await volumeIsWhole();
      },
      async assertClean() {
        assert.equal(await world.image(imageId), undefined);
        await volumeIsWhole();
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

it("uploadVolume leaves the volume as it was when the image is deleted meanwhile", async () => {
  const { world, volumeId, imageId, context } = await uploading({ clone: "dependent" });
  await using _ = world;
  const saga = { ...uploadVolume, steps: uploadVolume.steps.map((step) => ({ ...step })) };
  const publish = saga.steps.find(({ name }) => name === "publish");
  assert.ok(publish);
  const run = publish.run;
  publish.run = async (...args) => {
    await world.db.deleteFrom("image").where("id", "=", imageId).execute();
    await run(...args);
  };
  const outcome = await runSaga(saga, context, new MemoryJournal());
  assert.equal(outcome.ended, "undone");
  assert.equal((await world.volume(volumeId))?.status, "available");
  assert.deepEqual(await world.content(volumeId, MiB), content);
  await world.assertAuditClean();
});

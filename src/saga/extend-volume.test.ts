import assert from "node:assert/strict";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { extendVolume } from "#/saga/extend-volume.ts";
import { PROJECT, SagaWorld, someContent, TYPE } from "../../test/support/saga-world.ts";

const content = someContent();

sagaContract("extendVolume", extendVolume, async () => {
  const world = await SagaWorld.open();
  const volumeId = await world.addVolume({ status: "extending", size_bytes: GiB }, content);
  await addQuotaUsage(world.db, PROJECT, { gigabytes: 1, [`gigabytes_${TYPE.name}`]: 1 });
  const params = { volumeId, sizeBytes: 2 * GiB, previousSizeBytes: GiB, previousStatus: "available" };
  const contentIsWhole = async () => {
    assert.deepEqual(await world.content(volumeId, MiB), content);
    await world.assertAuditClean();
  };
  return {
    context: world.context(params),
    async assertDone() {
      const volume = await world.volume(volumeId);
      assert.deepEqual([volume?.status, volume?.size_bytes], ["available", 2 * GiB]);
      assert.equal((await world.content(volumeId, 2 * MiB)).length, 2 * MiB);
      await contentIsWhole();
    },
    async assertClean() {
      const volume = await world.volume(volumeId);
      assert.deepEqual([volume?.status, volume?.size_bytes], ["error_extending", GiB]);
      await contentIsWhole();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

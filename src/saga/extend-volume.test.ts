import assert from "node:assert/strict";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { updateVolume } from "#/db/volumes.ts";
import { giveBack, volumeQuota } from "#/domain/quota.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { extendVolume } from "#/saga/extend-volume.ts";
import { assertAttached, reserve } from "../../test/support/attachments.ts";
import { PROJECT, SagaWorld, someContent, TYPE } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

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

sagaContract("extendVolume, under a running guest", extendVolume, async () => {
  const world = await ServerWorld.open();
  const attached = await reserve(world);
  assert.equal((await world.run(attachVolume, attached)).state, "done");
  const { volumeId } = attached;
  await addQuotaUsage(world.db, PROJECT, volumeQuota(2 * MiB, TYPE.name));
  await addQuotaUsage(world.db, PROJECT, giveBack(volumeQuota(MiB, TYPE.name)));
  await updateVolume(world.db, volumeId, { status: "extending" });
  const params = { volumeId, sizeBytes: 2 * MiB, previousSizeBytes: MiB, previousStatus: "in-use" };
  return {
    context: world.sagas.context(params),
    async assertDone() {
      await assertAttached(world, attached);
      const { sizeBytes } = await world.sagas.services.hypervisor.diskStats(attached.serverId, "vdb");
      assert.deepEqual([sizeBytes, (await world.sagas.volume(volumeId))?.size_bytes], [2 * MiB, 2 * MiB]);
    },
    async assertClean() {
      const volume = await world.sagas.volume(volumeId);
      assert.deepEqual([volume?.status, volume?.size_bytes], ["error_extending", MiB]);
      await world.sagas.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

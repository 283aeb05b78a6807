import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { getDisk } from "#/db/disks.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { updateVolume } from "#/db/volumes.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { giveBack, volumeQuota } from "#/domain/quota.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { type ExtendVolume, extendVolume } from "#/saga/extend-volume.ts";
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

/** A volume of a running guest, to be twice as large. */
async function extending(world: ServerWorld) {
  const attached = await reserve(world);
  assert.equal((await world.run(attachVolume, attached)).state, "done");
  await addQuotaUsage(world.db, PROJECT, volumeQuota(2 * MiB, TYPE.name));
  await addQuotaUsage(world.db, PROJECT, giveBack(volumeQuota(MiB, TYPE.name)));
  await updateVolume(world.db, attached.volumeId, { status: "extending" });
  return { attached, params: { volumeId: attached.volumeId, sizeBytes: 2 * MiB, previousSizeBytes: MiB, previousStatus: "in-use" } };
}

sagaContract("extendVolume, under a running guest", extendVolume, async () => {
  const world = await ServerWorld.open();
  const { attached, params } = await extending(world);
  const { volumeId } = attached;
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

describe("extendVolume", () => {
  it("leaves it to the pool where the guest is stopped just then, and to the guest where it is started", async () => {
    await using world = await ServerWorld.open();
    const { attached, params } = await extending(world);
    const { hypervisor, pools } = world.sagas.services;
    world.host.hooks.before = async (method) => {
      if (method === "resizeDisk") await hypervisor.destroy(attached.serverId);
    };
    assert.equal((await extend(world, params)).state, "done");
    assert.deepEqual(await standing(world, attached.volumeId), ["in-use", 2 * MiB, 2 * MiB]);

    delete world.host.hooks.before;
    await updateVolume(world.db, attached.volumeId, { status: "extending" });
    pools.get(poolName("fast")).resize = async () => {
      await hypervisor.start(attached.serverId);
      throw new AppError("tool_failed", 'Failed to get "write" lock'); // QEMU has it open by now.
    };
    assert.equal((await extend(world, { ...params, sizeBytes: 3 * MiB, previousSizeBytes: 2 * MiB })).state, "done");
    assert.deepEqual(await standing(world, attached.volumeId), ["in-use", 3 * MiB, 3 * MiB]);
    assert.equal((await hypervisor.diskStats(attached.serverId, "vdb")).sizeBytes, 3 * MiB);
  });

  it("does not say that a volume is free which is being deleted by now", async () => {
    await using world = await ServerWorld.open();
    const { attached, params } = await extending(world);
    await updateVolume(world.db, attached.volumeId, { status: "deleting" });
    await extend(world, params);
    assert.deepEqual(await standing(world, attached.volumeId), ["deleting", 2 * MiB, 2 * MiB]);
  });
});

async function extend({ db, sagas: { runner } }: ServerWorld, params: ExtendVolume) {
  const meta = { projectId: PROJECT, userId: null, requestId: null, subject: { kind: "volume", id: params.volumeId } };
  return runner.run(await runner.begin(db, extendVolume, params, meta));
}

async function standing({ db, sagas }: ServerWorld, volumeId: string) {
  const volume = await sagas.volume(volumeId);
  return [volume?.status, volume?.size_bytes, (await getDisk(db, diskId(volumeId))).virtualSizeBytes];
}

import assert from "node:assert/strict";
import { MiB } from "#/lib/units.ts";
import { updateVolume } from "#/db/volumes.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { swapVolume } from "#/saga/swap-volume.ts";
import { assertAttached, reserve } from "../../test/support/attachments.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

sagaContract("swapVolume", swapVolume, async () => {
  const world = await ServerWorld.open();
  const attached = await reserve(world);
  assert.equal((await world.run(attachVolume, attached)).state, "done");
  const content = await world.sagas.content(attached.volumeId, MiB);
  const newVolumeId = await world.sagas.addVolume({ status: "reserved" }, someContent());
  await updateVolume(world.db, attached.volumeId, { status: "detaching" });
  const { serverId, deviceId, volumeId: oldVolumeId } = attached;
  const assertHas = async (volumeId: string, freeId: string) => {
    await assertAttached(world, { ...attached, volumeId });
    assert.ok((await world.sagas.content(volumeId, MiB)).equals(content));
    assert.equal((await world.sagas.volume(freeId))?.status, "available");
  };
  return {
    context: world.context({ serverId, deviceId, oldVolumeId, newVolumeId }),
    assertDone: () => assertHas(newVolumeId, oldVolumeId),
    /** What was published stays. */
    async assertClean() {
      const isNew = (await world.devices(serverId)).some(({ volume_id }) => volume_id === newVolumeId);
      await (isNew ? assertHas(newVolumeId, oldVolumeId) : assertHas(oldVolumeId, newVolumeId));
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

import assert from "node:assert/strict";
import { updateVolume } from "#/db/volumes.ts";
import { setDiskHolder } from "#/db/disks.ts";
import { diskId } from "#/domain/ids.ts";
import { dropDisk } from "#/saga/drop-disk.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

sagaContract("dropDisk", dropDisk, async () => {
  const world = await SagaWorld.open({ sagas: [dropDisk] });
  const volumeId = await world.addVolume({}, someContent());
  const id = diskId(volumeId);
  await updateVolume(world.db, volumeId, { status: "error", disk_id: null });
  await setDiskHolder(world.db, id, { kind: "ancestor", id });
  /** There is no way back: also a failure ends with the disk gone. */
  const assertGone = async () => {
    assert.deepEqual(await world.db.selectFrom("disk").select("id").execute(), []);
    await world.assertAuditClean();
  };
  return { context: world.context({ diskId: volumeId }), assertDone: assertGone, assertClean: assertGone, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
});

import assert from "node:assert/strict";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { MiB } from "#/lib/units.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();

sagaContract("flattenDisk", flattenDisk, async () => {
  const world = await SagaWorld.open({ clone: "dependent" });
  const volumeId = await world.addVolume({}, content);
  const snapshotId = await world.addSnapshot(volumeId);
  await runSaga(createSnapshot, world.context({ snapshotId }), new MemoryJournal());
  const bothAreWhole = async () => {
    for (const id of [volumeId, snapshotId]) assert.deepEqual(await world.content(id, MiB), content);
    await world.assertAuditClean();
  };
  return {
    context: world.context({ diskId: volumeId }),
    async assertDone() {
      const disk = await world.db.selectFrom("disk").select("parent_id").where("id", "=", volumeId).executeTakeFirstOrThrow();
      assert.equal(disk.parent_id, null);
      await bothAreWhole();
    },
    assertClean: bothAreWhole,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

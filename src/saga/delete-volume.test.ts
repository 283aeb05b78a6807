import assert from "node:assert/strict";
import { it } from "node:test";
import { deleteSnapshot } from "#/saga/delete-snapshot.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { MiB } from "#/lib/units.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { volumeFamily } from "../../test/support/volume-family.ts";

const content = someContent();

for (const clone of ["dependent", "independent"] as const) {
  sagaContract(`deleteVolume with its snapshots where clones are ${clone}`, deleteVolume, async () => {
    const { world, volumeId, snapshotId, cloneId } = await volumeFamily(clone, content);
    await world.db.updateTable("volume").set({ status: "deleting" }).where("id", "=", volumeId).execute();
    const cloneIsWhole = async () => assert.deepEqual(await world.content(cloneId, MiB), content);
    return {
      context: world.context({ volumeId, cascade: true }),
      async assertDone() {
        assert.equal(await world.volume(volumeId), undefined);
        assert.equal(await world.snapshot(snapshotId), undefined);
        await cloneIsWhole();
        await world.assertAuditClean();
      },
      async assertClean() {
        assert.match((await world.volume(volumeId))?.status ?? "gone", /error_deleting|gone/);
        await cloneIsWhole();
        await world.assertAuditClean();
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

it("the bytes of a deleted snapshot go with the last volume that reads through them", async () => {
  const { world, volumeId, snapshotId, cloneId } = await volumeFamily("dependent", content);
  await using _ = world;
  await runSaga(deleteSnapshot, world.context({ snapshotId }), new MemoryJournal());
  for (const id of [volumeId, cloneId]) await runSaga(deleteVolume, world.context({ volumeId: id, cascade: false }), new MemoryJournal());
  assert.deepEqual(await world.db.selectFrom("disk").selectAll().execute(), []);
  await world.assertAuditClean();
});

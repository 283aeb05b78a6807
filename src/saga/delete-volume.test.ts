import assert from "node:assert/strict";
import { it } from "node:test";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { deleteSnapshot } from "#/saga/delete-snapshot.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { MiB } from "#/lib/units.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();

/** A volume with a snapshot, and a second volume that is a clone of that snapshot. */
async function family(clone: "dependent" | "independent") {
  const world = await SagaWorld.open({ clone, sagas: [createVolume, createSnapshot, flattenDisk] });
  const volumeId = await world.addVolume({}, content);
  const snapshotId = await world.addSnapshot(volumeId);
  await runSaga(createSnapshot, world.context({ snapshotId }), new MemoryJournal());
  const plan = await world.planVolume({ kind: "snapshot", id: snapshotId }, MiB);
  const cloneId = await world.addVolume();
  await runSaga(createVolume, world.context({ volumeId: cloneId }, plan), new MemoryJournal());
  return { world, volumeId, snapshotId, cloneId };
}

for (const clone of ["dependent", "independent"] as const) {
  sagaContract(`deleteVolume with its snapshots where clones are ${clone}`, deleteVolume, async () => {
    const { world, volumeId, snapshotId, cloneId } = await family(clone);
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

  sagaContract(`deleteSnapshot where clones are ${clone}`, deleteSnapshot, async () => {
    const { world, volumeId, snapshotId, cloneId } = await family(clone);
    const othersAreWhole = async () => {
      assert.deepEqual(await world.content(cloneId, MiB), content);
      assert.deepEqual(await world.content(volumeId, MiB), content);
      await world.assertAuditClean();
    };
    return {
      context: world.context({ snapshotId }),
      async assertDone() {
        assert.equal(await world.snapshot(snapshotId), undefined);
        await othersAreWhole();
      },
      async assertClean() {
        assert.match((await world.snapshot(snapshotId))?.status ?? "gone", /error_deleting|gone/);
        await othersAreWhole();
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

it("the bytes of a deleted snapshot go with the last volume that reads through them", async () => {
  const { world, volumeId, snapshotId, cloneId } = await family("dependent");
  await using _ = world;
  await runSaga(deleteSnapshot, world.context({ snapshotId }), new MemoryJournal());
  for (const id of [volumeId, cloneId]) await runSaga(deleteVolume, world.context({ volumeId: id, cascade: false }), new MemoryJournal());
  assert.deepEqual(await world.db.selectFrom("disk").selectAll().execute(), []);
  await world.assertAuditClean();
});

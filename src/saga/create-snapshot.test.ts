import assert from "node:assert/strict";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { MiB } from "#/lib/units.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

for (const clone of ["dependent", "independent"] as const) {
  sagaContract(`createSnapshot in a pool whose clones are ${clone}`, createSnapshot, async () => {
    const world = await SagaWorld.open({ clone, sagas: [flattenDisk] });
    const content = someContent();
    const volumeId = await world.addVolume({}, content);
    const snapshotId = await world.addSnapshot(volumeId);
    return {
      context: world.context({ snapshotId }),
      async assertDone() {
        const snapshot = await world.snapshot(snapshotId);
        assert.equal(snapshot?.status, "available");
        assert.deepEqual(await world.content(snapshot?.disk_id, MiB), content);
        assert.deepEqual(await world.content(volumeId, MiB), content);
        await world.assertAuditClean();
      },
      async assertClean() {
        assert.equal((await world.snapshot(snapshotId))?.status, "error");
        assert.deepEqual(await world.content(volumeId, MiB), content);
        await world.assertAuditClean();
      },
      isShown: async () => (await world.snapshot(snapshotId))?.status === "available",
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

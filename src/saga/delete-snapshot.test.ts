import assert from "node:assert/strict";
import { MiB } from "#/lib/units.ts";
import { deleteSnapshot } from "#/saga/delete-snapshot.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { volumeFamily } from "../../test/support/volume-family.ts";

const content = someContent();

for (const clone of ["dependent", "independent"] as const) {
  sagaContract(`deleteSnapshot where clones are ${clone}`, deleteSnapshot, async () => {
    const { world, volumeId, snapshotId, cloneId } = await volumeFamily(clone, content);
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

import assert from "node:assert/strict";
import { it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { dedupPool } from "#/saga/dedup-pool.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();

/** Two volumes and an image that hold the same. */
async function alikeWorld() {
  const world = await SagaWorld.open({ clone: "independent" });
  const volumes = [await world.addVolume({}, content), await world.addVolume({}, content)];
  await world.addImage(content);
  const bothAreWhole = async () => {
    for (const id of volumes) assert.deepEqual(await world.content(id, MiB), content);
    await world.assertAuditClean();
  };
  const space = async () => {
    const row = await world.db.selectFrom("pool").select("space").where("name", "=", "fast").executeTakeFirst();
    return row?.space ? JSON.parse(row.space) : undefined;
  };
  return { world, bothAreWhole, space };
}

sagaContract("dedupPool", dedupPool, async () => {
  const { world, bothAreWhole, space } = await alikeWorld();
  return {
    context: world.context({ pool: "fast" }),
    async assertDone() {
      const { allocatedBytes, physicalBytes } = await space();
      assert.equal(allocatedBytes, 3 * physicalBytes);
      await bothAreWhole();
    },
    assertClean: bothAreWhole,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

it("dedupPool says what it shared, and adds to what an earlier process did", async () => {
  const { world, space } = await alikeWorld();
  await using _ = world;
  const context = world.context({ pool: "fast" });
  await context.report({ bytesShared: 1000, bytesRead: 1 });
  await runSaga(dedupPool, context, new MemoryJournal());
  const { sharedBytes, physicalBytes, measuredAtMs } = await space();
  assert.equal(context.actual.bytesShared, 1000 + 2 * physicalBytes);
  assert.equal(sharedBytes, 3 * physicalBytes);
  assert.ok(measuredAtMs > 0);
});

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { SagaWorld, someContent } from "../../../test/support/saga-world.ts";
import type { FindingKind } from "./finding.ts";

/** A volume with bytes, a snapshot that it stands on, and an image: all well. */
async function healthy() {
  const world = await SagaWorld.open({ sagas: [flattenDisk] });
  const volumeId = await world.addVolume({}, someContent());
  const snapshotId = await world.addSnapshot(volumeId);
  await runSaga(createSnapshot, world.context({ snapshotId }), new MemoryJournal());
  const imageId = await world.addImage(someContent());
  return { world, volumeId, snapshotId, imageId };
}
type Healthy = Awaited<ReturnType<typeof healthy>>;

const CASES: readonly [name: string, harm: (healthy: Healthy) => Promise<unknown>, kinds: FindingKind[]][] = [
  ["bytes that no record has", ({ world }) => world.services.pools.get(poolName("fast")).create({ id: diskId(randomUUID()), format: "raw", virtualSizeBytes: MiB }), ["orphan_bytes"]],
  [
    "partial bytes that no record has",
    async ({ world }) => (await world.services.pools.get(poolName("fast")).receive({ id: diskId(randomUUID()), format: "raw", virtualSizeBytes: MiB })).write(new Uint8Array(4096).fill(1), 0),
    ["orphan_bytes"],
  ],
  ["a record whose bytes are gone", ({ world, imageId }) => world.services.pools.get(poolName("fast")).delete(diskId(imageId)), ["missing_bytes"]],
  ["an active record without a disk", ({ world, volumeId }) => world.db.updateTable("volume").set({ disk_id: null }).where("id", "=", volumeId).execute(), ["orphan_disk", "dangling_record"]],
  ["a disk whose holder is another", ({ world, imageId }) => world.db.updateTable("disk").set({ holder_id: "nobody" }).where("id", "=", imageId).execute(), ["dangling_record", "orphan_disk"]],
  ["an ancestor that nothing reads through", ({ world, volumeId }) => world.db.updateTable("disk").set({ holder_kind: "ancestor" }).where("id", "=", volumeId).execute(), ["dangling_record", "orphan_disk"]],
  ["a chain on record that differs from the pool's", ({ world, volumeId }) => world.db.updateTable("disk").set({ parent_id: null }).where("id", "=", volumeId).execute(), ["broken_chain"]],
  ["a parent that is not whole", ({ world, snapshotId }) => world.db.updateTable("disk").set({ state: "deleting" }).where("id", "=", snapshotId).execute(), ["unfinished", "broken_chain", "dangling_record"]],
  ["a disk that nobody fills any more", ({ world, imageId }) => world.db.updateTable("disk").set({ state: "filling" }).where("id", "=", imageId).execute(), ["unfinished", "dangling_record"]],
  ["a status that nobody works on", ({ world, volumeId }) => world.db.updateTable("volume").set({ status: "uploading" }).where("id", "=", volumeId).execute(), ["unfinished"]],
  ["a quota that is not the sum", ({ world }) => world.db.updateTable("quota_usage").set({ used: 7 }).where("resource", "=", "volumes").execute(), ["wrong_sum"]],
  ["a pool's promise that is not the sum", ({ world }) => world.db.updateTable("pool_usage").set({ reserved_bytes: 1 }).where("pool", "=", "fast").execute(), ["wrong_sum"]],
  [
    "a disk in a pool that is not configured",
    ({ world, imageId }) => world.db.updateTable("disk").set({ pool: "gone" }).where("id", "=", imageId).execute(),
    ["orphan_bytes", "pool_unavailable", "wrong_sum"],
  ],
  [
    "a cache entry without a disk",
    ({ world, imageId }) =>
      world.db.insertInto("cache_entry").values({ image_id: imageId, pool: "fast", disk_id: randomUUID(), state: "ready", filled_by: "", size_bytes: 0, hits: 0, created_at: 0, last_used_at: 0 }).execute(),
    ["dangling_record"],
  ],
];

describe("audit()", () => {
  it("finds nothing where all is well", async () => {
    const { world } = await healthy();
    await using _ = world;
    await world.assertAuditClean();
  });

  for (const [name, harm, kinds] of CASES) {
    it(`finds ${name}, and says what to do`, async () => {
      const healthyWorld = await healthy();
      await using world = healthyWorld.world;
      await harm(healthyWorld);
      const findings = await world.audit();
      assert.deepEqual([...new Set(findings.map(({ kind }) => kind))].sort(), [...new Set(kinds)].sort(), JSON.stringify(findings));
      assert.ok(findings.every(({ message, fix }) => message.length > 20 && fix.length > 20));
    });
  }

  it("lets be what an operation works on", async () => {
    const { world, imageId } = await healthy();
    await using _ = world;
    await world.db.updateTable("disk").set({ state: "filling" }).where("id", "=", imageId).execute();
    const never = { name: "hash-image", steps: [] };
    const meta = { projectId: null, userId: null, requestId: null, subject: { kind: "image", id: imageId } };
    await using busy = await SagaWorld.open({ sagas: [never] });
    await world.db.transaction().execute((trx) => busy.runner.begin(trx, never, {}, meta));
    assert.deepEqual(await world.audit(), []);
    await world.db.deleteFrom("operation").execute();
  });
});

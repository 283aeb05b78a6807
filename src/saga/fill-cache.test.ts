import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { insertCacheEntry } from "#/db/cache-entries.ts";
import { poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();

sagaContract("fillCache", fillCache, async () => {
  const world = await SagaWorld.open();
  const imageId = await world.addImage(content, { pool: "slow" });
  const diskId = randomUUID();
  const pool = poolName("fast");
  await insertCacheEntry(world.db, { image_id: imageId, pool, disk_id: diskId, state: "filling", filled_by: "me", size_bytes: 0, hits: 0, created_at: 0, last_used_at: 0 });
  const entry = () => world.db.selectFrom("cache_entry").selectAll().executeTakeFirst();
  return {
    context: world.context({ imageId, pool, diskId, sourceDiskId: imageId, virtualSizeBytes: MiB, strategy: "stream_convert" as const }),
    async assertDone() {
      assert.equal((await entry())?.state, "ready");
      assert.deepEqual(await world.content(diskId, MiB), content);
      await world.assertAuditClean();
    },
    async assertClean() {
      assert.equal(await entry(), undefined);
      await world.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

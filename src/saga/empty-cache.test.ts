import assert from "node:assert/strict";
import { cacheEntriesOfPool, insertCacheEntry, setCacheEntryReady } from "#/db/cache-entries.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { emptyCache } from "#/saga/empty-cache.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { fillTarget, recordTarget } from "#/saga/materialise.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();
const pool = poolName("fast");

sagaContract("emptyCache", emptyCache, async () => {
  const world = await SagaWorld.open();
  for (let i = 0; i < 2; i++) await addEntry(world, await world.addImage(content, { pool: "slow" }));
  const count = async () => (await cacheEntriesOfPool(world.db, pool)).length;
  return {
    context: world.context({ pool }),
    async assertDone() {
      assert.equal(await count(), 0);
      await world.assertAuditClean();
    },
    assertClean: () => world.assertAuditClean(),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

/** A cached copy of the image, made as volumes' creation makes it. */
async function addEntry(world: SagaWorld, imageId: string): Promise<void> {
  const id = diskId(crypto.randomUUID());
  await insertCacheEntry(world.db, { image_id: imageId, pool, disk_id: id, state: "filling", filled_by: "me", size_bytes: 0, hits: 0, created_at: 0, last_used_at: 0 });
  const target = { id, pool, format: "raw", virtualSizeBytes: MiB, holder: { kind: "cache", id: imageId } } as const;
  const making = { strategy: "stream_convert", source: diskId(imageId), target } as const;
  await recordTarget(world.services, making);
  await fillTarget(world.context({}), making, { signal: new AbortController().signal, progress: () => {} });
  await setCacheEntryReady(world.db, imageId, pool, MiB);
}

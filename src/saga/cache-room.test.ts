import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { cachedImage } from "#/saga/cached-image.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import type { PoolLimits } from "#/storage/pool.ts";
import { SagaWorld, type SagaWorldOptions } from "../../test/support/saga-world.ts";

const scope = { signal: new AbortController().signal, progress() {} };

/** A world whose cache has these limits, and a way to ask for an image of so many full MiB. */
async function withCache(limits: Partial<PoolLimits>, options: SagaWorldOptions = {}) {
  const world = await SagaWorld.open({ sagas: [fillCache], limits, ...options });
  return {
    world,
    async ask(sizeMib: number, imageId?: string) {
      const id = imageId ?? (await world.addImage(Buffer.alloc(sizeMib * MiB, 7), { pool: "slow" }));
      const plan = await world.planVolume({ kind: "image", id }, sizeMib * MiB);
      const cached = await cachedImage(world.context({}, plan), plan, diskId(id), scope);
      return { id, cached };
    },
    async entries(): Promise<string[]> {
      return (await world.db.selectFrom("cache_entry").select("image_id").orderBy("last_used_at").execute()).map(({ image_id }) => image_id);
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

describe("the cache of a pool", () => {
  it("keeps at most so many entries, and drops the least recently used one", async () => {
    await using cache = await withCache({ cacheCountMax: 2 });
    const [a, b] = [await cache.ask(1), await cache.ask(1)];
    await cache.world.db.updateTable("cache_entry").set({ last_used_at: 1 }).where("image_id", "=", b.id).execute();
    const c = await cache.ask(1);
    assert.deepEqual(new Set(await cache.entries()), new Set([a.id, c.id]));
    await cache.world.assertAuditClean();
  });

  it("keeps at most so many bytes", async () => {
    await using cache = await withCache({ cacheSizeBytesMax: 5 * MiB });
    const a = await cache.ask(2);
    const b = await cache.ask(2);
    await cache.world.db.updateTable("cache_entry").set({ last_used_at: 1 }).where("image_id", "=", a.id).execute();
    const c = await cache.ask(3);
    assert.deepEqual(new Set(await cache.entries()), new Set([b.id, c.id]));
    await cache.world.assertAuditClean();
  });

  it("does not take an image that is larger than its limit, and drops nothing for it", async () => {
    await using cache = await withCache({ cacheSizeBytesMax: 2 * MiB });
    const a = await cache.ask(1);
    const big = await cache.ask(3);
    assert.equal(big.cached, undefined);
    assert.deepEqual(await cache.entries(), [a.id]);
  });

  it("counts what is being filled, and does not drop it", async () => {
    await using cache = await withCache({ cacheCountMax: 1 });
    const a = await cache.ask(1);
    await cache.world.db.updateTable("cache_entry").set({ state: "filling" }).execute();
    assert.equal((await cache.ask(1)).cached, undefined);
    assert.deepEqual(await cache.entries(), [a.id]);
  });

  it("leaves a dropped entry's bytes to the clones that read through them", async () => {
    await using cache = await withCache({ cacheCountMax: 1 });
    const { world } = cache;
    const a = await cache.ask(1);
    const clone = diskId(await world.addVolume());
    const pool = world.services.pools.get((await world.planVolume({ kind: "image", id: a.id }, MiB)).target.pool);
    assert.ok(a.cached);
    const source = { id: a.cached.id, format: "raw", virtualSizeBytes: MiB } as const;
    await pool.clone(source, { id: clone, format: "raw", virtualSizeBytes: MiB });
    const row = { format: "raw", virtual_size_bytes: MiB, location: null, holder_kind: "volume", state: "ready", reserved_bytes: 0, created_at: 0 } as const;
    await world.db.insertInto("disk").values({ ...row, id: clone, pool: pool.name, parent_id: a.cached.id, holder_id: clone }).execute();
    await cache.ask(1);
    const dropped = await world.db.selectFrom("disk").select("holder_kind").where("id", "=", a.cached.id).executeTakeFirst();
    assert.equal(dropped?.holder_kind, "ancestor");
    assert.deepEqual(await world.content(clone, MiB), Buffer.alloc(MiB, 7));
  });
});

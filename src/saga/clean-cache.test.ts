import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId, poolName } from "#/domain/ids.ts";
import { HOUR_MS, MiB } from "#/lib/units.ts";
import { cachedImage } from "#/saga/cached-image.ts";
import { cleanCache, needsCleaning } from "#/saga/clean-cache.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import type { CacheCleaning } from "#/storage/pool.ts";
import { SagaWorld } from "../../test/support/saga-world.ts";

const FAST = poolName("fast");
const scope = { signal: new AbortController().signal, progress() {} };
/** Pool `fast` has 64 MiB: four images of 8 MiB leave half of it. */
const HALF: CacheCleaning = { belowPercentage: 60, untilPercentage: 70, idleMsMin: HOUR_MS, unusedMsMax: 0 };

/** A world with so many images of 8 MiB in the cache; the first was used the longest time ago, all of them `idleMs` ago. */
async function withImages(count: number, cacheCleaning: CacheCleaning, idleMs = 2 * HOUR_MS) {
  const world = await SagaWorld.open({ sagas: [fillCache, cleanCache], limits: { cacheCleaning }, clone: "independent" });
  const images: string[] = [];
  for (let i = 0; i < count; i++) {
    const id = await world.addImage(Buffer.alloc(8 * MiB, i + 1), { pool: "slow" });
    const plan = await world.planVolume({ kind: "image", id }, 8 * MiB);
    assert.ok(await cachedImage(world.context({}, plan), plan, diskId(id), scope));
    await used(world, id, Date.now() - idleMs + i);
    images.push(id);
  }
  return { world, images };
}

async function used(world: SagaWorld, imageId: string, atMs: number): Promise<void> {
  await world.db.updateTable("cache_entry").set({ last_used_at: atMs }).where("image_id", "=", imageId).execute();
}

async function cached(world: SagaWorld): Promise<string[]> {
  const rows = await world.db.selectFrom("cache_entry").select("image_id").orderBy("last_used_at").execute();
  return rows.map(({ image_id }) => image_id);
}

async function clean(world: SagaWorld): Promise<void> {
  const meta = { projectId: null, userId: null, requestId: null, subject: { kind: "pool", id: FAST } };
  const id = await world.db.transaction().execute((trx) => world.runner.begin(trx, cleanCache, { pool: FAST }, meta));
  assert.equal((await world.runner.run(id)).state, "done");
}

describe("cleaning the cache", () => {
  it("drops the least recently used images until enough is free, and no more", async () => {
    const { world, images } = await withImages(4, HALF);
    await using _ = world;
    await used(world, images[0] as string, Date.now() - HOUR_MS - 1);
    assert.equal(await needsCleaning(world.services, world.services.pools.get(FAST)), true);
    await clean(world);
    assert.deepEqual(await cached(world), [images[3], images[0]]);
    assert.equal(await needsCleaning(world.services, world.services.pools.get(FAST)), false, "75 % are free");
    await world.assertAuditClean();
  });

  it("drops images that nobody used for long also where there is room, and no others", async () => {
    const { world, images } = await withImages(3, { belowPercentage: 0, untilPercentage: 0, idleMsMin: HOUR_MS, unusedMsMax: 24 * HOUR_MS });
    await using _ = world;
    await used(world, images[1] as string, Date.now() - 24 * HOUR_MS - 1);
    assert.equal(await needsCleaning(world.services, world.services.pools.get(FAST)), true);
    await clean(world);
    assert.deepEqual(await cached(world), [images[0], images[2]]);
    assert.equal(await needsCleaning(world.services, world.services.pools.get(FAST)), false);
    await world.assertAuditClean();
  });

  it("leaves images that were used lately, however little is free", async () => {
    const { world, images } = await withImages(4, { belowPercentage: 100, untilPercentage: 100, idleMsMin: HOUR_MS, unusedMsMax: 0 });
    await using _ = world;
    await used(world, images[1] as string, Date.now());
    await clean(world);
    assert.deepEqual(await cached(world), [images[1]]);
    assert.equal(await needsCleaning(world.services, world.services.pools.get(FAST)), false);
  });

  it("leaves images through which others read: dropping them would free nothing", async () => {
    const { world, images } = await withImages(4, { belowPercentage: 100, untilPercentage: 100, idleMsMin: 0, unusedMsMax: 0 });
    await using _ = world;
    const [entry] = await world.db.selectFrom("cache_entry").selectAll().where("image_id", "=", images[2] as string).execute();
    const volume = await world.addVolume({ size_bytes: 8 * MiB }, Buffer.alloc(8 * MiB, 3));
    await world.db.updateTable("disk").set({ parent_id: entry?.disk_id ?? null }).where("id", "=", volume).execute();
    await clean(world);
    assert.deepEqual(await cached(world), [images[2]]);
  });

  it("is not needed while enough is free, nor at 0 %", async () => {
    for (const belowPercentage of [40, 0]) {
      const { world } = await withImages(4, { ...HALF, belowPercentage });
      await using _ = world;
      assert.equal(await needsCleaning(world.services, world.services.pools.get(FAST)), false);
    }
  });
});

sagaContract("cleanCache", cleanCache, async () => {
  const { world, images } = await withImages(4, HALF);
  return {
    context: world.context({ pool: FAST }),
    async assertDone() {
      assert.deepEqual(await cached(world), images.slice(2));
      await world.assertAuditClean();
    },
    async assertClean() {
      await world.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

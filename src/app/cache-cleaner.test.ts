import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CacheCleaner } from "#/app/cache-cleaner.ts";
import type { AppContext } from "#/app/context.ts";
import type { Config } from "#/config/schema.ts";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { cachedImage } from "#/saga/cached-image.ts";
import { cleanCache } from "#/saga/clean-cache.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { SagaWorld } from "../../test/support/saga-world.ts";

/** A world with one idle image in the cache, and all that is free being too little. */
async function fullWorld(cacheCleanIntervalMs: number) {
  const limits = { cacheCleaning: { belowPercentage: 100, untilPercentage: 100, idleMsMin: 0, unusedMsMax: 0 } };
  const world = await SagaWorld.open({ sagas: [fillCache, cleanCache], limits, clone: "independent" });
  const id = await world.addImage(Buffer.alloc(MiB, 1), { pool: "slow" });
  const plan = await world.planVolume({ kind: "image", id }, MiB);
  await cachedImage(world.context({}, plan), plan, diskId(id), { signal: new AbortController().signal, progress() {} });
  const context: AppContext = { ...world.services, config: { cacheCleanIntervalMs } as Config, runner: world.runner };
  return { world, cleaner: new CacheCleaner(context) };
}

async function cleanings(world: SagaWorld): Promise<{ state: string; subject_id: string }[]> {
  const rows = await world.db.selectFrom("operation").select(["state", "subject_id"]).where("saga", "=", "clean-cache").execute();
  return rows.map((row) => ({ ...row }));
}

it("a pool that is nearly full is cleaned by one operation, however often it is looked at, and by none when it is clean", async () => {
  const { world, cleaner } = await fullWorld(60_000);
  await using _ = world;
  using _cleaner = cleaner;
  await Promise.all([cleaner.clean(), cleaner.clean()]);
  await cleaner.clean();
  assert.deepEqual(await cleanings(world), [{ state: "done", subject_id: "fast" }]);
  assert.equal((await world.db.selectFrom("cache_entry").selectAll().execute()).length, 0);
  await world.assertAuditClean();
});

it("pools are looked at by themselves, until the end", async () => {
  const { world, cleaner } = await fullWorld(10);
  await using _ = world;
  for (let i = 0; i < 200 && (await cleanings(world)).length === 0; i++) await sleep(10);
  cleaner[Symbol.dispose]();
  assert.equal((await cleanings(world)).length, 1);
});

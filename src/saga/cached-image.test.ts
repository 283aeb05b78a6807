import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { cachedImage } from "#/saga/cached-image.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const scope = { signal: new AbortController().signal, progress() {} };

async function withImage() {
  const world = await SagaWorld.open({ sagas: [fillCache] });
  const imageId = await world.addImage(someContent(), { pool: "slow" });
  const plan = await world.planVolume({ kind: "image", id: imageId }, MiB);
  return { world, imageId, plan, context: world.context({}, plan), source: diskId(imageId) };
}

describe("cachedImage()", () => {
  it("fills the cache for the first that asks, and counts the hits of all", async () => {
    const { world, imageId, plan, context, source } = await withImage();
    await using _ = world;
    const disks = await Promise.all([1, 2, 3].map(() => cachedImage(context, plan, source, scope)));
    assert.equal(new Set(disks.map((cached) => cached?.id)).size, 1);
    const entry = await world.db.selectFrom("cache_entry").selectAll().executeTakeFirstOrThrow();
    assert.deepEqual([entry.image_id, entry.state, entry.hits, entry.disk_id], [imageId, "ready", 3, disks[0]?.id]);
    await world.assertAuditClean();
  });

  it("makes no entry for an image that was deleted meanwhile", async () => {
    const { world, imageId, plan, context, source } = await withImage();
    await using _ = world;
    await world.db.deleteFrom("image").where("id", "=", imageId).execute();
    assert.equal(await cachedImage(context, plan, source, scope), undefined);
    assert.deepEqual(await world.db.selectFrom("cache_entry").selectAll().execute(), []);
  });

  it("drops an entry whose disk is gone, and fills it anew", async () => {
    const { world, plan, context, source } = await withImage();
    await using _ = world;
    const first = await cachedImage(context, plan, source, scope);
    await world.services.pools.get(plan.target.pool).delete(first?.id ?? source);
    await world.db.deleteFrom("disk").where("id", "=", first?.id ?? "").execute();
    const second = await cachedImage(context, plan, source, scope);
    assert.ok(second?.isFilled);
    assert.notEqual(second.id, first?.id);
  });

  it("stops waiting when its own operation is cancelled, and leaves the fill to the others", async () => {
    const { world, plan, context, source } = await withImage();
    await using _ = world;
    const cancel = new AbortController();
    const waiting = cachedImage(context, plan, source, { ...scope, signal: cancel.signal });
    cancel.abort(new Error("cancelled"));
    await assert.rejects(waiting, /cancelled/);
    await world.settle();
    assert.deepEqual(await world.db.selectFrom("operation").select("state").execute().then((rows) => rows.filter(({ state }) => state !== "done")), []);
  });
});

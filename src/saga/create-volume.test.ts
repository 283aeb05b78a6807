import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import type { VolumeSource } from "#/app/materialise.ts";
import { getDisk } from "#/db/disks.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { dropDisk } from "#/saga/drop-disk.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { prepareFreeze } from "#/saga/freeze-disk.ts";
import { MiB } from "#/lib/units.ts";
import { SagaWorld, type SagaWorldOptions, someContent } from "../../test/support/saga-world.ts";

const SAGAS = [createVolume, dropDisk, fillCache, flattenDisk];
const content = someContent();

/** How the world is made, where the content comes from, and the strategy that this must lead to. */
interface Flow {
  readonly name: string;
  readonly options?: SagaWorldOptions;
  readonly strategy: string;
  readonly source: (world: SagaWorld) => Promise<VolumeSource>;
}

const inFast = async (world: SagaWorld): Promise<VolumeSource> => ({ kind: "image", id: await world.addImage(content) });
const inSlow = async (world: SagaWorld): Promise<VolumeSource> => ({ kind: "image", id: await world.addImage(content, { pool: "slow" }) });
const inNear = async (world: SagaWorld): Promise<VolumeSource> => ({ kind: "image", id: await world.addImage(content, { pool: "near" }) });
const liveVolume = async (world: SagaWorld): Promise<VolumeSource> => ({ kind: "volume", id: await world.addVolume({}, content) });

const FLOWS: readonly Flow[] = [
  { name: "a blank volume", strategy: "blank", source: async () => ({ kind: "blank" }) },
  { name: "a dependent clone of an image", strategy: "clone", source: inFast },
  { name: "an independent clone of an image", options: { clone: "independent" }, strategy: "clone", source: inFast },
  { name: "a copy of an image by the storage", options: { cloneDepthMax: 0 }, strategy: "offload_copy", source: inFast },
  { name: "a dependent clone across pools", strategy: "clone", source: inNear },
  { name: "an independent clone across pools", options: { clone: "independent" }, strategy: "clone", source: inNear },
  { name: "a copy across pools by the storage", options: { cloneDepthMax: 0 }, strategy: "offload_copy", source: inNear },
  { name: "an image of another pool through the cache", strategy: "stream_convert", source: inSlow },
  { name: "an image of another pool, uncached", options: { clone: "none" }, strategy: "stream_convert", source: inSlow },
  { name: "a clone of a live volume, frozen first", strategy: "clone", source: liveVolume },
  { name: "a copy of a live volume by the storage, frozen first", options: { cloneDepthMax: 0 }, strategy: "offload_copy", source: liveVolume },
  { name: "a copy of a live volume in a pool without clones", options: { clone: "none" }, strategy: "offload_copy", source: liveVolume },
  { name: "an independent clone of a live volume", options: { clone: "independent" }, strategy: "clone", source: liveVolume },
];

for (const { name, options = {}, strategy, source } of FLOWS) {
  sagaContract(`createVolume of ${name}`, createVolume, async () => {
    const world = await SagaWorld.open({ ...options, sagas: SAGAS });
    const from = await source(world);
    const plan = await world.planVolume(from, 2 * MiB);
    assert.equal(plan.strategy, strategy);
    const volumeId = await world.addVolume({ size_bytes: 2 * MiB });
    const context = world.context({ volumeId }, plan);
    return {
      context,
      async assertDone() {
        const volume = await world.volume(volumeId);
        assert.equal(volume?.status, "available");
        const expected = from.kind === "blank" ? Buffer.alloc(2 * MiB) : Buffer.concat([content, Buffer.alloc(MiB)]);
        assert.deepEqual(await world.content(volume?.disk_id, 2 * MiB), expected);
        await world.assertAuditClean();
      },
      async assertClean() {
        const volume = await world.volume(volumeId);
        assert.deepEqual([volume?.status, volume?.disk_id], ["error", null]);
        if (from.kind !== "blank") assert.deepEqual(await world.content(from.id, MiB), content);
        await world.assertAuditClean();
      },
      isShown: async () => (await world.volume(volumeId))?.status === "available",
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

describe("createVolume", () => {
  const begin = async (world: SagaWorld, from: VolumeSource) => {
    const plan = await world.planVolume(from, 2 * MiB);
    const volumeId = await world.addVolume({ size_bytes: 2 * MiB });
    const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
    const id = await world.db.transaction().execute((trx) => world.runner.begin(trx, createVolume, { volumeId }, meta));
    return { volumeId, ended: world.runner.run(id) };
  };

  it("converts an image once however many volumes ask for it at the same time", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS });
    const from = await inSlow(world);
    const begun = await Promise.all(Array.from({ length: 8 }, () => begin(world, from)));
    for (const { ended } of begun) assert.equal((await ended).state, "done");
    const fills = await world.db.selectFrom("operation").select("id").where("saga", "=", "fill-cache").execute();
    assert.equal(fills.length, 1);
    await world.assertAuditClean();
  });

  it("clones from the cache the second time, and still when the image is gone from its pool", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS });
    const from = await inSlow(world);
    await (await begin(world, from)).ended;
    assert.equal((await world.planVolume(from, 2 * MiB)).strategy, "clone_cached");
    const second = await begin(world, from);
    assert.equal((await second.ended).state, "done");
    assert.deepEqual((await world.content(second.volumeId, MiB)), content);
  });

  it("makes a clone independent in the background once it is deeper than its pool likes", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, cloneDepthMax: 1 });
    const first = await begin(world, await inFast(world));
    await first.ended;
    const second = await begin(world, { kind: "volume", id: first.volumeId });
    assert.equal((await second.ended).state, "done");
    await world.settle();
    assert.deepEqual(await world.content(second.volumeId, MiB), content);
    const deep = await world.db.selectFrom("disk").select(["id", "parent_id"]).where("id", "=", second.volumeId).executeTakeFirstOrThrow();
    assert.equal(deep.parent_id, null);
    await world.assertAuditClean();
  });

  it("ends in error, with a message in words, where the pool is too full", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, clone: "none" });
    const big = await world.addImage(randomBytes(40 * MiB), { pool: "slow" });
    await world.addVolume({}, randomBytes(60 * MiB));
    const plan = await world.planVolume({ kind: "image", id: big }, 40 * MiB);
    const volumeId = await world.addVolume({ size_bytes: 40 * MiB });
    const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
    const id = await world.db.transaction().execute((trx) => world.runner.begin(trx, createVolume, { volumeId }, meta));
    const ended = await world.runner.run(id);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "pool_full"]);
    assert.equal((await world.volume(volumeId))?.status, "error");
    const [message] = await world.db.selectFrom("message").selectAll().execute();
    assert.match(message?.user_message ?? "", /exceeds available space/);
    await world.assertAuditClean();
  });

  it("is of one instant of the volume that it is copied from, whatever is written to that meanwhile; nothing else stays", async () => {
    for (const [clone, ids] of [["dependent", 3], ["independent", 2]] as const) {
      await using world = await SagaWorld.open({ sagas: SAGAS, clone });
      const live = await world.addVolume({}, content);
      const volumeId = await world.addVolume();
      const pool = world.services.pools.get(poolName("fast"));
      const copy = pool.copy.bind(pool);
      const read: string[] = [];
      pool.copy = (source, ...rest) => {
        read.push(source.id);
        return copy(source, ...rest);
      };
      const plan = await world.planVolume({ kind: "volume", id: live }, MiB);
      const context = world.context({ volumeId }, { ...plan, strategy: "offload_copy", fallbacks: [] });
      assert.deepEqual(await runSaga(createVolume, context, new MemoryJournal()), { ended: "done" });
      assert.deepEqual(read, [context.operationId]);
      assert.deepEqual(await world.content(volumeId, MiB), content);
      await world.settle();
      await world.assertAuditClean();
      assert.equal((await world.db.selectFrom("disk").select("id").execute()).length, ids); // An overlay stays on what was frozen.
    }
  });

  it("is of one instant too where a clone breaks, and it is copied", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, clone: "independent" });
    const live = await world.addVolume({}, content);
    const volumeId = await world.addVolume();
    const pool = world.services.pools.get(poolName("fast"));
    pool.clone = async () => {
      throw new AppError("not_supported", "the storage forgot how");
    };
    const frozen: string[] = [];
    const snapshot = pool.snapshot.bind(pool);
    pool.snapshot = async (source, target) => {
      frozen.push(target.id);
      return snapshot(source, target);
    };
    const context = world.context({ volumeId }, await world.planVolume({ kind: "volume", id: live }, MiB));
    assert.deepEqual(await runSaga(createVolume, context, new MemoryJournal()), { ended: "done" });
    assert.deepEqual(frozen, [context.operationId]);
    await world.settle();
    await world.assertAuditClean();
    assert.equal((await world.db.selectFrom("disk").select("id").execute()).length, 2);
  });

  it("flattens a source that it left deeper than its pool likes", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, cloneDepthMax: 0 });
    const live = await world.addVolume({}, content);
    const volumeId = await world.addVolume();
    const context = world.context({ volumeId }, await world.planVolume({ kind: "volume", id: live }, MiB));
    assert.deepEqual(await runSaga(createVolume, context, new MemoryJournal()), { ended: "done" });
    await world.settle();
    assert.equal((await getDisk(world.db, diskId(live))).parent, undefined);
    assert.deepEqual(await world.content(live, MiB), content);
    await world.assertAuditClean();
  });

  it("leaves nothing of what it froze where it fails", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, clone: "independent" });
    const live = await world.addVolume({}, content);
    const volumeId = await world.addVolume();
    const pool = world.services.pools.get(poolName("fast"));
    const broken = async () => {
      throw new AppError("not_supported", "the storage forgot how");
    };
    Object.assign(pool, { clone: broken });
    const plan = await world.planVolume({ kind: "volume", id: live }, MiB);
    const context = world.context({ volumeId }, { ...plan, fallbacks: ["offload_copy"] });
    Object.assign(pool, { stat: broken }); // How much room the copy takes is asked before anything reads what was frozen.
    assert.equal((await runSaga(createVolume, context, new MemoryJournal())).ended, "undone");
    await world.settle();
    assert.deepEqual((await world.db.selectFrom("disk").select("id").execute()).map(({ id }) => id), [live]);
  });

  it("brings a freeze to its end that a crash cut short", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, clone: "independent" });
    const live = await world.addVolume({}, content);
    const volumeId = await world.addVolume();
    const context = world.context({ volumeId }, await world.planVolume({ kind: "volume", id: live }, MiB));
    const id = diskId(context.operationId);
    await prepareFreeze(world.services, diskId(live), id, { kind: "ancestor", id });
    world.services.pools.get(poolName("fast")).clone = async () => {
      throw new AppError("not_supported", "the storage forgot how");
    };
    assert.deepEqual(await runSaga(createVolume, context, new MemoryJournal()), { ended: "done" });
    assert.deepEqual(await world.content(volumeId, MiB), content);
    await world.settle();
    await world.assertAuditClean();
  });

  it("does not read through its source where that is flattened as soon as it is frozen", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS });
    const live = await world.addVolume({}, content);
    const volumeId = await world.addVolume();
    const plan = await world.planVolume({ kind: "volume", id: live }, MiB);
    const flatten = { name: "flatten", run: async () => void (await runSaga(flattenDisk, world.context({ diskId: live }), new MemoryJournal())) };
    const steps = createVolume.steps.flatMap((step) => (step.name === "freeze" ? [step, flatten] : [step]));
    await runSaga({ ...createVolume, steps }, world.context({ volumeId }, plan), new MemoryJournal());
    const volume = await world.volume(volumeId);
    assert.notEqual((await getDisk(world.db, diskId(volume?.disk_id ?? ""))).parent, live);
    assert.deepEqual(await world.content(volume?.disk_id, MiB), content);
    await world.assertAuditClean();
  });
});

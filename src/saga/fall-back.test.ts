import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { MiB } from "#/lib/units.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { takeFirstThatWorks } from "#/saga/fall-back.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import type { DiskWriter, Lineage } from "#/storage/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const SAGAS = [createVolume, fillCache, flattenDisk];
const content = someContent();

type Call = "clone" | "copy" | "receive";

/** Storage that says it can clone and copy, and then breaks. */
class BrokenDriver extends MemoryDriver {
  readonly #faults = new Map<Call, { code: ErrorCode; times: number }>();

  constructor() {
    super({ capacityBytes: 64 * MiB, clone: "dependent" });
  }

  /** The next `times` such calls throw. */
  break(call: Call, code: ErrorCode, times = Number.POSITIVE_INFINITY): this {
    this.#faults.set(call, { code, times });
    return this;
  }

  override async clone(...args: Parameters<MemoryDriver["clone"]>): Promise<Lineage> {
    this.#meet("clone");
    return super.clone(...args);
  }

  override async copy(...args: Parameters<MemoryDriver["copy"]>): Promise<void> {
    this.#meet("copy");
    return super.copy(...args);
  }

  override async receive(...args: Parameters<MemoryDriver["receive"]>): Promise<DiskWriter> {
    this.#meet("receive");
    return super.receive(...args);
  }

  #meet(call: Call): void {
    const fault = this.#faults.get(call);
    if (!fault || fault.times-- <= 0) return;
    throw new AppError(fault.code, `the ${call} broke`);
  }
}

async function create(world: SagaWorld, image: string) {
  const plan = await world.planVolume({ kind: "image", id: image }, 2 * MiB);
  const volumeId = await world.addVolume({ size_bytes: 2 * MiB });
  const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
  const id = await world.db.transaction().execute((trx) => world.runner.begin(trx, createVolume, { volumeId }, meta));
  const ended = await world.runner.run(id);
  return { plan, volumeId, ended, actual: JSON.parse(ended.actual ?? "{}") };
}

describe("a way that breaks", () => {
  it("a broken clone falls to the copy by the storage, and the operation says why", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, driver: new BrokenDriver().break("clone", "tool_failed") });
    const { plan, volumeId, ended, actual } = await create(world, await world.addImage(content));
    assert.deepEqual([plan.strategy, ended.state, actual.strategy], ["clone", "done", "offload_copy"]);
    assert.deepEqual(actual.fellBack.map(({ strategy }: { strategy: string }) => strategy), ["clone"]);
    assert.match(actual.fellBack[0].because, /the clone broke/);
    assert.deepEqual(await world.content(volumeId, MiB), content);
    await world.assertAuditClean();
  });

  it("and further down, to the conversion, when the copy breaks too", async () => {
    const driver = new BrokenDriver().break("clone", "tool_failed").break("copy", "pool_full");
    await using world = await SagaWorld.open({ sagas: SAGAS, driver });
    const { volumeId, ended, actual } = await create(world, await world.addImage(content));
    assert.deepEqual([ended.state, actual.strategy], ["done", "stream_convert"]);
    assert.equal(actual.fellBack.length, 2);
    assert.deepEqual(await world.content(volumeId, MiB), content);
    await world.assertAuditClean();
  });

  it("a cache without room falls to a conversion straight into the volume", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, driver: new BrokenDriver().break("receive", "pool_full", 1) });
    const { plan, volumeId, ended, actual } = await create(world, await world.addImage(content, { pool: "slow" }));
    assert.deepEqual([plan.fillsCache, ended.state, actual.strategy], [true, "done", "stream_convert"]);
    assert.match(actual.fellBack[0].strategy, /into the cache/);
    assert.deepEqual(await world.content(volumeId, MiB), content);
    assert.equal((await world.db.selectFrom("cache_entry").selectAll().execute()).length, 0);
    await world.assertAuditClean();
  });

  it("a cached disk that takes no more clones is filled anew, once, and its clones stay whole", async () => {
    const driver = new BrokenDriver();
    await using world = await SagaWorld.open({ sagas: SAGAS, driver });
    const image = await world.addImage(content, { pool: "slow" });
    const first = await create(world, image);
    const [before] = await world.db.selectFrom("cache_entry").selectAll().execute();
    driver.break("clone", "clone_limit", 1);
    const second = await create(world, image);
    const [after] = await world.db.selectFrom("cache_entry").selectAll().execute();
    assert.deepEqual([second.plan.strategy, second.ended.state], ["clone_cached", "done"]);
    assert.notEqual(after?.disk_id, before?.disk_id);
    for (const { volumeId } of [first, second]) assert.deepEqual(await world.content(volumeId, MiB), content);
    await world.assertAuditClean();
  });

  it("what is wrong with the request itself is not tried in another way", async () => {
    await using world = await SagaWorld.open({ sagas: SAGAS, driver: new BrokenDriver().break("clone", "bad_request") });
    const { ended, actual } = await create(world, await world.addImage(content));
    assert.deepEqual([ended.state, ended.error_code, actual.fellBack], ["undone", "bad_request", undefined]);
    await world.assertAuditClean();
  });
});

it("takeFirstThatWorks() clears what a broken way left before it takes the next one", async () => {
  await using world = await SagaWorld.open();
  const done: string[] = [];
  const ways = (["clone", "offload_copy", "stream_convert"] as const).map((strategy) => ({ strategy, viaCache: false }));
  await takeFirstThatWorks(world.context({}), ways, {
    signal: new AbortController().signal,
    clear: async () => void done.push("clear"),
    async take({ strategy }) {
      done.push(strategy);
      if (strategy !== "stream_convert") throw new AppError("tool_failed", "it broke");
    },
  });
  assert.deepEqual(done, ["clone", "clear", "offload_copy", "clear", "stream_convert"]);
});

sagaContract("createVolume where every clone breaks", createVolume, async () => {
  const world = await SagaWorld.open({ sagas: SAGAS, driver: new BrokenDriver().break("clone", "tool_failed") });
  const plan = await world.planVolume({ kind: "image", id: await world.addImage(content) }, 2 * MiB);
  const volumeId = await world.addVolume({ size_bytes: 2 * MiB });
  return {
    context: world.context({ volumeId }, plan),
    async assertDone() {
      assert.equal((await world.volume(volumeId))?.status, "available");
      assert.deepEqual(await world.content(volumeId, MiB), content);
      await world.assertAuditClean();
    },
    async assertClean() {
      assert.equal((await world.volume(volumeId))?.status, "error");
      await world.assertAuditClean();
    },
    isShown: async () => (await world.volume(volumeId))?.status === "available",
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { findOperation } from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import { AppError } from "#/domain/errors.ts";
import { type OperationId, poolName } from "#/domain/ids.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { type AnySaga, SagaRunner } from "#/saga/runner.ts";
import { tryAgain } from "#/saga/try-again.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

/** Work that fails so many times, in an operation of its own. */
function failing(count: number, pausesMs: readonly number[]) {
  let runs = 0;
  const work = async () => {
    runs++;
    if (runs <= count) throw new AppError("pool_unavailable", `the cable is out for the ${runs}. time`);
  };
  const saga: AnySaga = { name: "tested", steps: [{ name: "try", run: (context, { signal }) => tryAgain(context, work, { signal, pausesMs }) }] };
  return { saga, runs: () => runs };
}

async function begin(world: SagaWorld, saga: AnySaga, subject = "i"): Promise<OperationId> {
  const meta = { projectId: null, userId: null, requestId: "req-1", subject: { kind: "image", id: subject } };
  return world.db.transaction().execute((trx) => world.runner.begin(trx, saga, { imageId: subject }, meta));
}

async function until(world: SagaWorld, id: OperationId, isSo: (operation: OperationTable) => boolean): Promise<OperationTable> {
  for (let waitedMs = 0; waitedMs < 5000; waitedMs += 5) {
    const operation = await findOperation(world.db, id);
    if (operation && isSo(operation)) return operation;
    await sleep(5);
  }
  return assert.fail("it has not come about");
}

describe("tryAgain()", () => {
  it("tries what fails again, and forgets what was said of it", async () => {
    const { saga, runs } = failing(2, [1, 1]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const ended = await world.runner.run(await begin(world, saga));
    assert.deepEqual([ended.state, ended.error_message, runs()], ["done", null, 3]);
  });

  it("ends with the last failure when all tries are used up", async () => {
    const { saga, runs } = failing(9, [1, 1]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const ended = await world.runner.run(await begin(world, saga));
    assert.deepEqual([ended.state, ended.error_code, ended.error_message, runs()], ["undone", "pool_unavailable", "the cable is out for the 3. time", 3]);
  });

  it("says meanwhile why it failed and when it is tried again, and can be cancelled", async () => {
    const { saga } = failing(1, [60_000]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const id = await begin(world, saga);
    const ending = world.runner.run(id);
    const { state, error_code, error_message } = await until(world, id, (operation) => operation.error_message !== null);
    assert.deepEqual([state, error_code], ["running", "pool_unavailable"]);
    assert.match(error_message ?? "", /^It has failed once, and is tried again at \d{4}-\S+Z: the cable is out for the 1\. time$/);
    await world.runner.cancel(id);
    assert.deepEqual([(await ending).state, (await ending).error_code], ["undone", "cancelled"]);
  });

  it("leaves off when the process is asked to stop, and the next one tries at once", async () => {
    const { saga } = failing(1, [60_000]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const id = await begin(world, saga);
    const ending = world.runner.run(id);
    await until(world, id, (operation) => operation.error_message !== null);
    await world.runner.close(5000);
    assert.equal((await ending).state, "running");
    const next = new SagaRunner(world.services, [saga], { leaseMs: 30_000, retentionMs: 60_000 });
    assert.equal(await next.start({ alone: true }), 1);
    const ended = await next.run(id);
    assert.deepEqual([ended.state, ended.error_message], ["done", null]);
    await next.close(1000);
  });
});

describe("hashImage", () => {
  it("is tried again where the image could not be read", async () => {
    await using world = await SagaWorld.open({ sagas: [hashImage] });
    const imageId = await world.addImage(someContent());
    const pool = world.services.pools.get(poolName("fast"));
    const read = pool.read.bind(pool);
    pool.read = () => {
      pool.read = read;
      throw new AppError("tool_failed", "no bytes");
    };
    const ended = await world.runner.run(await begin(world, hashImage, imageId));
    assert.deepEqual([ended.state, ended.error_message], ["done", null]);
    assert.equal((await world.image(imageId))?.hash_value?.length, 128);
  });

  it("waits for a pool that is away, which is no failure", async () => {
    await using world = await SagaWorld.open({ sagas: [hashImage] });
    const imageId = await world.addImage(someContent());
    const pool = world.services.pools.get(poolName("fast"));
    let down: typeof pool.down = { reason: "the cable is out", sinceMs: 0 };
    Object.defineProperty(pool, "down", { get: () => down });
    const id = await begin(world, hashImage, imageId);
    const ending = world.runner.run(id);
    const { error_message } = await until(world, id, (operation) => operation.error_message !== null);
    assert.equal(error_message, 'It waits for pool "fast", which is down: the cable is out');
    down = undefined;
    assert.deepEqual([(await ending).state, (await ending).error_message], ["done", null]);
  });

  it("ends quietly where the image is deleted before it could be read", async () => {
    await using world = await SagaWorld.open({ sagas: [hashImage] });
    const imageId = await world.addImage(someContent());
    world.services.pools.get(poolName("fast")).read = () => {
      throw new AppError("tool_failed", "no bytes");
    };
    const id = await begin(world, hashImage, imageId);
    const ending = world.runner.run(id);
    await until(world, id, (operation) => operation.error_message !== null);
    await world.db.deleteFrom("image").where("id", "=", imageId).execute();
    assert.deepEqual([(await ending).state, (await ending).error_message], ["done", null]);
  });
});

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, it } from "node:test";
import { operationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import { type AnySaga, SagaRunner } from "#/saga/runner.ts";
import { SagaWorld } from "../../test/support/saga-world.ts";

const META = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: "v" } };
const LIMITS = { leaseMs: 300, retentionMs: 1000 };

type Steps = Saga<SagaContext<{ n: number }>>["steps"];
const sagaOf = (steps: Steps): AnySaga => ({ name: "tested", steps });

async function begin(world: SagaWorld, runner: SagaRunner, saga: AnySaga) {
  return world.db.transaction().execute((trx) => runner.begin(trx, saga, { n: 7 }, META));
}

describe("SagaRunner", () => {
  it("runs a saga to its end, and keeps what it reported", async () => {
    const saga = sagaOf([{ name: "count", run: ({ params, report }) => report({ bytesRead: params.n }) }]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const ended = await world.runner.run(await begin(world, world.runner, saga));
    assert.deepEqual([ended.state, ended.progress, ended.actual, ended.lease_owner !== null], ["done", 1, '{"bytesRead":7}', true]);
  });

  it("gives the same answer to all who run one operation at the same time", async () => {
    let runs = 0;
    const saga = sagaOf([{ name: "once", run: async () => void (runs += 1) }]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const id = await begin(world, world.runner, saga);
    await Promise.all([world.runner.run(id), world.runner.run(id)]);
    assert.equal(runs, 1);
  });

  it("undoes an operation that is cancelled, and says so", async () => {
    const entered = Promise.withResolvers<void>();
    let undone = false;
    const saga = sagaOf([
      {
        name: "wait",
        run: async (_, { signal }) => {
          entered.resolve();
          await sleep(60_000, undefined, { signal });
        },
        undo: async () => void (undone = true),
      },
    ]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const id = await begin(world, world.runner, saga);
    const ending = world.runner.run(id);
    await entered.promise;
    await world.runner.cancel(id);
    const ended = await ending;
    assert.deepEqual([ended.state, ended.error_code, ended.error_message, undone], ["undone", "cancelled", "It was cancelled by its user.", true]);
  });

  it("suspends at close, and the next worker goes on from there", async () => {
    const ran: string[] = [];
    const entered = Promise.withResolvers<void>();
    const first = sagaOf([
      { name: "a", run: async () => void ran.push("a") },
      {
        name: "b",
        run: async (_, { signal }) => {
          entered.resolve();
          await sleep(60_000, undefined, { signal });
        },
      },
    ]);
    await using world = await SagaWorld.open({ sagas: [first] });
    const id = await begin(world, world.runner, first);
    const ending = world.runner.run(id);
    await entered.promise;
    await world.runner.close(5000);
    assert.equal((await ending).state, "running");

    const second = sagaOf([
      { name: "a", run: async () => void ran.push("a again") },
      { name: "b", run: async () => void ran.push("b") },
    ]);
    const next = new SagaRunner(world.services, [second], LIMITS);
    assert.equal(await next.start({ alone: true }), 1);
    assert.equal((await next.run(id)).state, "done");
    assert.deepEqual(ran, ["a", "b"]);
    await next.close(1000);
  });

  it("leaves an operation alone while another worker holds its lease, and takes it up when that is over", async () => {
    let runs = 0;
    const saga = sagaOf([{ name: "once", run: async () => void (runs += 1) }]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const dead = new SagaRunner(world.services, [saga], LIMITS);
    const id = await begin(world, dead, saga);
    const next = new SagaRunner(world.services, [saga], LIMITS);
    assert.equal(await next.start({ alone: false }), 0);
    assert.equal(runs, 0);
    for (let waited = 0; runs === 0 && waited < 5000; waited += 50) await sleep(50);
    assert.equal(runs, 1);
    assert.equal((await next.run(operationId(id))).state, "done");
    await next.close(1000);
  });

  it("tries an undo that fails again, then leaves the operation stuck with the reason, and takes it up later", async () => {
    let broken = true;
    const saga = sagaOf([
      {
        name: "a",
        run: async () => {
          throw new Error("no room");
        },
        undo: async () => {
          if (broken) throw new Error("the pool is away");
        },
      },
    ]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const id = await begin(world, world.runner, saga);
    const stuck = await world.runner.run(id);
    assert.equal(stuck.state, "stuck");
    assert.match(stuck.error_message ?? "", /the pool is away/);
    broken = false;
    const ended = await world.runner.run(id);
    assert.deepEqual([ended.state, ended.error_message], ["undone", "no room"]);
  });

  it("knows at each attempt to undo what was reported before", async () => {
    const seen: unknown[] = [];
    const saga = sagaOf([
      {
        name: "a",
        run: async ({ report }) => {
          await report({ bytesTemporary: 5 });
          throw new Error("no room");
        },
        undo: async ({ actual }) => {
          seen.push(actual.bytesTemporary);
          if (seen.length === 1) throw new Error("the pool is away");
        },
      },
    ]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const ended = await world.runner.run(await begin(world, world.runner, saga));
    assert.deepEqual([ended.state, seen], ["undone", [5, 5]]);
  });

  it("tells watchers of each progress, and writes it down now and then", async () => {
    const saga = sagaOf([{ name: "a", run: async (_, { progress }) => [0.25, 0.5].forEach(progress) }]);
    await using world = await SagaWorld.open({ sagas: [saga] });
    const id = await begin(world, world.runner, saga);
    const seen: (number | undefined)[] = [];
    world.runner.watch(id, () => seen.push(world.runner.live(id)?.fraction));
    await world.runner.run(id);
    assert.deepEqual(seen.slice(0, 2), [0.25, 0.5]);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { findOperation } from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import { AppError } from "#/domain/errors.ts";
import { type OperationId, poolName } from "#/domain/ids.ts";
import { silentLog } from "#/lib/log.ts";
import { MiB } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import { poolsOf } from "#/saga/operation-pools.ts";
import { powerServer } from "#/saga/power-server.ts";
import { type AnySaga, SagaRunner } from "#/saga/runner.ts";
import { SAGAS } from "#/saga/sagas.ts";
import { newDisk } from "#/storage/contract/bench.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { Pools } from "#/storage/pools.ts";
import { ReopeningDriver } from "#/storage/wrap/reopening.ts";
import { POOL_LIMITS } from "../../test/support/pool-limits.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const META = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: "v" } };
const LATE = poolName("late");
const disk = newDisk(MiB);
const saga: AnySaga = { name: "tested", steps: [{ name: "create", run: ({ pools, params }) => pools.get(params.pool).create(disk) }] };

/** Mica after a crash: an operation was under way in a pool that is not up yet. */
class Restarted implements AsyncDisposable {
  readonly services: SagaServices;
  readonly id: OperationId;
  readonly place: { away: string | undefined };
  readonly #world: SagaWorld;

  private constructor(world: SagaWorld, services: SagaServices, id: OperationId, place: { away: string | undefined }) {
    this.#world = world;
    this.services = services;
    this.id = id;
    this.place = place;
  }

  static async open(): Promise<Restarted> {
    const world = await SagaWorld.open();
    const place: Restarted["place"] = { away: "the cable is out" };
    const disks = new MemoryDriver();
    const open = async () => {
      if (place.away !== undefined) throw new AppError("pool_unavailable", place.away);
      return disks;
    };
    const driver = await ReopeningDriver.open({ kind: "memory", open, log: silentLog, pauseMs: 1, pauseMaxMs: 4 });
    const pool = new Pool({ name: LATE, roles: ["volumes"], driver, health: driver, limits: POOL_LIMITS });
    const services = { ...world.services, pools: new Pools([pool]) };
    const dead = new SagaRunner(services, [saga], { leaseMs: 1000, retentionMs: 1000 });
    const id = await world.db.transaction().execute((trx) => dead.begin(trx, saga, { pool: LATE }, META));
    return new Restarted(world, services, id, place);
  }

  async start(waitMs: number): Promise<SagaRunner> {
    const runner = new SagaRunner(this.services, [saga], { leaseMs: 1000, retentionMs: 60_000, waitMs });
    assert.equal(await runner.start({ alone: true }), 1);
    return runner;
  }

  async operation(): Promise<OperationTable> {
    return (await findOperation(this.services.db, this.id)) ?? assert.fail("it is recorded");
  }

  async until(done: (operation: OperationTable) => boolean): Promise<OperationTable> {
    for (let i = 0; i < 500; i++) {
      const operation = await this.operation();
      if (done(operation)) return operation;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.fail(JSON.stringify(await this.operation()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.services.pools[Symbol.asyncDispose]();
    await this.#world[Symbol.asyncDispose]();
  }
}

describe("an operation that is taken up", () => {
  it("waits for its pool, says so, and goes on when it comes up", async () => {
    await using mica = await Restarted.open();
    const runner = await mica.start(60_000);
    const waiting = await mica.until(({ error_message: message }) => message !== null);
    assert.deepEqual(
      [waiting.state, waiting.error_code, waiting.error_message],
      ["running", "pool_unavailable", 'It waits for pool "late", which is down: the cable is out'],
    );
    mica.place.away = undefined;
    const ended = await runner.run(mica.id);
    assert.deepEqual([ended.state, ended.error_code, ended.error_message], ["done", null, null]);
    assert.equal((await mica.services.pools.get(LATE).stat(disk.id))?.sizeBytes, MiB);
    await runner.close(1000);
  });

  it("waits no longer than it may", async () => {
    await using mica = await Restarted.open();
    const runner = await mica.start(300);
    await mica.until(({ error_message: message }) => /^It waits/.test(message ?? ""));
    const ended = await runner.run(mica.id);
    assert.equal(ended.state, "undone");
    assert.match(ended.error_message ?? "", /is down: the cable is out/);
    await runner.close(1000);
  });

  it("can be cancelled while it waits, and stands as it was when Mica ends", async () => {
    await using mica = await Restarted.open();
    const first = await mica.start(60_000);
    await mica.until(({ error_message: message }) => message !== null);
    await first.close(5000);
    const left = await mica.operation();
    assert.deepEqual([left.state, left.error_message], ["running", null]);
    const second = await mica.start(60_000);
    await mica.until(({ error_message: message }) => message !== null);
    await second.cancel(mica.id);
    const ended = await second.run(mica.id);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "cancelled"]);
    await second.close(1000);
  });
});

describe("an operation on a server that is taken up", () => {
  it("waits for the hypervisor too", async () => {
    await using world = await ServerWorld.open();
    const serverId = await world.addRunning(someContent());
    const { services } = world.sagas;
    const limits = { leaseMs: 1000, retentionMs: 60_000 };
    const meta = { ...META, subject: { kind: "server", id: serverId } };
    const dead = new SagaRunner(services, SAGAS, limits);
    const id = await world.db.transaction().execute((trx) => dead.begin(trx, powerServer, { serverId, action: "pause" }, meta));
    world.host.goDown();
    const runner = new SagaRunner(services, SAGAS, { ...limits, waitMs: 60_000 });
    assert.equal(await runner.start({ alone: true }), 1);
    const message = async () => (await findOperation(world.db, id))?.error_message ?? "";
    for (let i = 0; i < 500 && !(await message()).startsWith("It waits for the hypervisor, which is down"); i++) await sleep(5);
    assert.match(await message(), /^It waits for the hypervisor, which is down/);
    world.host.comeBack();
    assert.equal((await runner.run(id)).state, "done");
    await world.assertState(serverId, "paused");
    await runner.close(1000);
  });
});

describe("the pools of an operation", () => {
  it("are those of the disks that its records hold, where it names no pool itself", async () => {
    await using world = await SagaWorld.open({ sagas: [deleteVolume] });
    const volumeId = await world.addVolume({}, Buffer.alloc(MiB));
    const subject = { kind: "volume", id: volumeId };
    const id = await world.db.transaction().execute((trx) => world.runner.begin(trx, deleteVolume, { volumeId, cascade: false }, { ...META, subject }));
    const operation = (await findOperation(world.db, id)) ?? assert.fail();
    assert.deepEqual((await poolsOf(world.services, operation)).map(({ name }) => name), ["fast"]);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { silentLog } from "#/lib/log.ts";
import { MiB } from "#/lib/units.ts";
import { assertContent, dense, get, newDisk, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { ReopeningDriver, type ReopeningOptions } from "#/storage/wrap/reopening.ts";

const QUICK = { kind: "memory", log: silentLog, pauseMs: 1, pauseMaxMs: 4 };

storageDriverContract("ReopeningDriver", () => ReopeningDriver.open({ ...QUICK, open: async () => new MemoryDriver() }));

/** A place that can be taken away, and that counts how often it was opened and closed. */
class Place {
  away: string | undefined;
  opened = 0;
  closed = 0;
  readonly disks = new MemoryDriver();

  async open(): Promise<MemoryDriver> {
    this.#refuseWhileAway();
    this.opened += 1;
    const refuse = () => this.#refuseWhileAway();
    const close = () => void (this.closed += 1);
    const disks = this.disks;
    return new Proxy(disks, {
      get(target, name) {
        const value = Reflect.get(target, name, disks);
        if (name === Symbol.asyncDispose) return async () => close();
        if (typeof value !== "function") return value;
        if (name === "read" || name === "locate") return value.bind(disks);
        return (...args: unknown[]) => {
          refuse();
          return value.apply(disks, args);
        };
      },
    });
  }

  driver(options: Partial<ReopeningOptions> = {}): Promise<ReopeningDriver> {
    return ReopeningDriver.open({ ...QUICK, open: () => this.open(), ...options });
  }

  #refuseWhileAway(): void {
    if (this.away !== undefined) throw new AppError("pool_unavailable", this.away);
  }
}

async function until(come: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !come(); i++) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.ok(come(), `it comes within a second: ${come}`);
}

describe("ReopeningDriver", () => {
  it("starts without the place, says why, and comes up when the place does", async () => {
    const place = new Place();
    place.away = "the cable is out";
    await using driver = await place.driver();
    assert.equal(driver.down?.reason, "the cable is out");
    assert.equal(driver.can.clone, "none");
    assert.match(driver.can.why.clone ?? "", /the cable is out/);
    await assert.rejects(driver.create(newDisk(MiB)), { code: "pool_unavailable", message: "it is down: the cable is out" });
    place.away = undefined;
    await until(() => driver.down === undefined);
    await driver.create(newDisk(MiB));
  });

  it("goes down at a call that finds the place away, and comes back with the disks that it had", async () => {
    const place = new Place();
    await using driver = await place.driver();
    const bytes = dense(MiB, 1);
    const disk = await putNew(driver, bytes);
    place.away = "it was unmounted";
    await rejectsWith("pool_unavailable", () => driver.stat(disk.id));
    await until(() => driver.down !== undefined);
    assert.equal(driver.down?.reason, "it was unmounted");
    place.away = undefined;
    await until(() => driver.down === undefined);
    await assertContent(driver, disk, bytes);
    assert.deepEqual([place.opened, place.closed], [2, 1]);
  });

  it("stays up where a single call fails and the place answers", async () => {
    class Hiccup extends MemoryDriver {
      override async create(): Promise<void> {
        throw new AppError("pool_unavailable", "this once");
      }
    }
    await using driver = await ReopeningDriver.open({ ...QUICK, open: async () => new Hiccup() });
    await rejectsWith("pool_unavailable", () => driver.create(newDisk(MiB)));
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(driver.down, undefined);
  });

  it("does not close an opening while somebody still reads or writes in it", async () => {
    const place = new Place();
    await using driver = await place.driver();
    const disk = await putNew(driver, dense(3 * MiB, 1));
    const writer = await driver.receive(newDisk(MiB));
    const reading = driver.read(disk, { start: 0, end: 3 * MiB })[Symbol.asyncIterator]();
    await reading.next();
    place.away = "it blinked";
    await rejectsWith("pool_unavailable", () => driver.capacity());
    await until(() => driver.down !== undefined);
    place.away = undefined;
    await until(() => driver.down === undefined);
    assert.deepEqual([place.opened, place.closed], [2, 0]);
    await reading.return?.();
    assert.equal(place.closed, 0);
    await writer.abort();
    await until(() => place.closed === 1);
    assert.equal((await get(driver, disk)).length, 3 * MiB);
  });

  it("does not wait for a place that hangs, and takes it when it answers", async () => {
    const answer = Promise.withResolvers<MemoryDriver>();
    await using driver = await ReopeningDriver.open({ ...QUICK, open: () => answer.promise, patienceMs: 5 });
    assert.match(driver.down?.reason ?? "", /did not answer within 0.005 s/);
    answer.resolve(new MemoryDriver());
    await until(() => driver.down === undefined);
    await driver.create(newDisk(MiB));
  });

  it("is down while a question for its capacity hangs, and comes back when that is answered", async () => {
    const answer = Promise.withResolvers<void>();
    let hangs = false;
    class Hanging extends MemoryDriver {
      override async capacity() {
        if (hangs) await answer.promise;
        return super.capacity();
      }
    }
    await using driver = await ReopeningDriver.open({ ...QUICK, open: async () => new Hanging(), answerMs: 10 });
    hangs = true;
    await assert.rejects(driver.capacity(), { code: "pool_unavailable", message: "it did not answer within 0.01 s" });
    await assert.rejects(driver.create(newDisk(MiB)), { code: "pool_unavailable", message: /^it is down: it did not answer/ });
    hangs = false;
    answer.resolve();
    await until(() => driver.down === undefined);
    await driver.capacity();
  });

  it("waits longer and longer between attempts, and no longer than the limit", async () => {
    const pauses: number[] = [];
    const log = { ...silentLog, warn: (fields: object) => void ("pauseMs" in fields && pauses.push(Number(fields.pauseMs))) };
    await using _driver = await ReopeningDriver.open({ ...QUICK, log, open: () => Promise.reject(new AppError("pool_unavailable", "no")) });
    await until(() => pauses.length >= 5);
    assert.deepEqual(pauses.slice(0, 5), [1, 2, 4, 4, 4]);
  });

  it("ends its attempts when it is closed, and closes what was opened meanwhile", async () => {
    const place = new Place();
    const answer = Promise.withResolvers<void>();
    const driver = await place.driver({ open: () => answer.promise.then(() => place.open()), patienceMs: 1 });
    await driver[Symbol.asyncDispose]();
    answer.resolve();
    await until(() => place.closed === 1);
  });
});
